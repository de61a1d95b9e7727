"""Sends the bytes of one input on a connection of its own, and tells what came back."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any

from tests.helpers.waiting import PATIENCE

HANG_SECONDS = PATIENCE
"""How long an answer may take on a busy machine; what takes longer counts as none."""
_PATIENCE_SECONDS = 0.2
"""How long the answer to a request that may be half a request is waited for before the connection is half closed."""
_CONTINUE = b"HTTP/1.1 100 "
_MOST_BYTES = 8 * 1024**2

Enough = Callable[[bytes], bool]


@dataclass(frozen=True)
class Answer:
    """What the server sent."""

    status: int = 0
    """0 where it closed the connection without an answer."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hung: bool = False
    """Nothing came for HANG_SECONDS."""

    def document(self) -> Any:
        """Return the body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def send(address: tuple[str, int], data: bytes, *, may_be_half: bool = False, enough: Enough | None = None) -> Answer:
    """Send the request and read its answer, to the end or until there is `enough` of the body."""
    try:
        opened = socket.create_connection(address, HANG_SECONDS)
    except ConnectionRefusedError:
        return Answer()
    with opened as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Refused before its end; the answer may be there all the same.
        except TimeoutError:
            return Answer(hung=True)
        if may_be_half and not _answers(connection):
            connection.shutdown(socket.SHUT_WR)
        return _read(connection, data.partition(b" ")[0].decode("latin-1"), enough)


def _answers(connection: socket.socket) -> bool:
    """Tell whether there is an answer, or an end; `100 Continue` only asks for the rest of the request."""
    connection.settimeout(_PATIENCE_SECONDS)
    try:
        return not connection.recv(len(_CONTINUE), socket.MSG_PEEK).startswith(_CONTINUE)
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(HANG_SECONDS)


def _read(connection: socket.socket, method: str, enough: Enough | None) -> Answer:
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = _body(response, enough)
    except TimeoutError:
        return Answer(hung=True)
    except (HTTPException, OSError, ValueError):
        return Answer()
    finally:
        response.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body)


def _body(response: HTTPResponse, enough: Enough | None) -> bytes:
    body = b""
    deadline = time.monotonic() + HANG_SECONDS
    while chunk := response.read1(65_536):
        body += chunk
        if len(body) > _MOST_BYTES or (enough is not None and enough(body)):
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    return body
