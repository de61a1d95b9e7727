"""Reserves loopback ports for servers, also while the servers are down."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a free port of 127.0.0.1 for a server that sets SO_REUSEADDR, as servers do.

    A socket that is bound and does not listen reserves the port while the context is open. Linux then gives the port
    neither to a `bind` to port 0 nor to the local end of a connection, but only to a server that asks for this port.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def held_ports(number: int) -> Iterator[list[int]]:
    """Yield `number` ports, reserved as by `held_port`."""
    with ExitStack() as stack:
        yield [stack.enter_context(held_port()) for _ in range(number)]
