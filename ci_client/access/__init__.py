"""The addresses of servers, and the keys of the user of the client, one for each server."""
