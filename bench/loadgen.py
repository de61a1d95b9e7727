"""A light load on one HTTP endpoint: one request repeatedly, on persistent connections.

    python -m bench.loadgen ADDRESS PORT CONNECTIONS REQUESTS <REQUEST

A process of its own, so that it shares no event loop and no interpreter with what it measures. It writes one line of
JSON: `seconds`, `requests` and `failed`.
"""

import argparse
import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass

RECEIVED_AT_ONCE = 64 * 1024
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(slots=True)
class Connection:
    """One connection with consecutive requests."""

    socket: socket.socket
    received: bytes = b""

    def take(self, data: bytes) -> int | None:
        """Add received data; return the answer's status once it is complete, else None."""
        self.received = self.received + data if self.received else data
        head_end = self.received.find(_HEAD_END)
        if head_end < 0:
            return None
        begin = self.received.lower().find(_LENGTH, 0, head_end) + len(_LENGTH)
        length = int(self.received[begin : self.received.index(b"\r", begin)])
        if len(self.received) < head_end + len(_HEAD_END) + length:
            return None
        status = int(self.received[9:12])
        self.received = b""
        return status


def load(address: tuple[str, int], request: bytes, *, connections: int, requests: int) -> tuple[float, int]:
    """Send `request` many times; return the seconds that this took, and the number of failed answers."""
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connected = socket.create_connection(address)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connected, selectors.EVENT_READ, Connection(connected))
    begun = time.perf_counter()
    for key in list(selector.get_map().values()):
        key.data.socket.sendall(request)
    sent, answered, failed = connections, 0, 0
    while answered < requests:
        for key, _ in selector.select():
            connection: Connection = key.data
            data = connection.socket.recv(RECEIVED_AT_ONCE)
            if not data:
                raise ConnectionError("the server has closed a connection that was to stay open")
            status = connection.take(data)
            if status is None:
                continue
            answered += 1
            failed += not 200 <= status < 300
            if sent < requests:
                connection.socket.sendall(request)
                sent += 1
    return time.perf_counter() - begun, failed


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("requests", type=int)
    options = parser.parse_args()
    request = sys.stdin.buffer.read()
    seconds, failed = load(
        (options.address, options.port), request, connections=options.connections, requests=options.requests
    )
    print(json.dumps({"seconds": seconds, "requests": options.requests, "failed": failed}))


if __name__ == "__main__":
    main()
