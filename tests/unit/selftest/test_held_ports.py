"""A held port is its server's alone, across the server's deaths."""

import errno
import socket

import pytest

from ci_selftest.faults.held_ports import held_port, held_ports


def listening(port: int, *, reuse: bool = True) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_a_server_comes_back_on_its_port_as_often_as_it_likes() -> None:
    with held_port() as port:
        for _ in range(3):
            with listening(port), socket.create_connection(("127.0.0.1", port), 5):
                pass
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)


def test_a_held_port_is_not_given_to_others() -> None:
    with held_ports(2) as ports:
        assert len(set(ports)) == 2
        with pytest.raises(OSError, match="in use") as refused:
            listening(ports[0], reuse=False)
        assert refused.value.errno == errno.EADDRINUSE
