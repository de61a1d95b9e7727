"""What a request may have before the application sees it. docs/operations.md tells operators."""

HEAD_BYTES = 32 * 1024
"""The request line and all headers."""

URL_BYTES = 16 * 1024

HEADER_BYTES = 16 * 1024
"""One header, name and value."""

HEADERS = 100

HEAD_SECONDS = 20
"""From the connection's beginning, or the first byte of a further request, to the end of its headers."""

IDLE_SECONDS = 75
"""For a connection that waits for another request: longer than the usual minute of proxies, so that these close it."""

MOST_CONNECTIONS = 10_000
"""Where nothing else is said."""

PIECE_BYTES = 16 * 1024
"""How much of a chunked body is parsed at once."""

PIECE_EFFORT = 64
"""What parsing a piece costs besides its length, in bytes."""

TURN_EFFORT = 32 * 1024
"""After how much of a chunked body, so counted, other connections have their turn: its chunks may have a byte each."""
