"""Between the sockets and the application: what a connection may cost before a request is one.

`Protocol` is for uvicorn: `uvicorn ci_server.app:app --http ci_server.door:Protocol`. `ci serve` uses it by itself.
"""

try:
    from ci_server.door.protocol import DoorProtocol as Protocol
except ImportError:  # httptools is not there for every interpreter.
    from ci_server.door.fallback import FallbackProtocol as Protocol  # type: ignore[assignment]

__all__ = ["Protocol"]
