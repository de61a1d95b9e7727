"""What agents get: short answers within limits of bytes, for `ci run --agent` and for the MCP server."""
