"""The stream of a job as server-sent events, shared by all of its readers."""
