"""Connections of clients, with limits on what each may cost before its request reaches the application.

`Protocol` is for uvicorn: `uvicorn ci_server.app:app --http ci_server.connections:Protocol`. `ci serve` uses it.
"""

try:
    from ci_server.connections.httptools_protocol import LimitedProtocol as Protocol
except ImportError:  # httptools is not there for every interpreter.
    from ci_server.connections.h11_protocol import FallbackProtocol as Protocol  # type: ignore[assignment]

__all__ = ["Protocol"]
