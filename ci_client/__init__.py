"""The client library: talking to a server, following a job's stream, and packing a directory."""
