"""Answers of the door itself, for requests that the application never sees."""

from http import HTTPStatus

from ci_common.errors import RequestError
from ci_server.http.exchange import NO_SNIFFING
from ci_server.http.problems import problem_of


def refusal(error: RequestError, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the whole answer, after which the connection has to be closed."""
    answer = problem_of(error)
    status = HTTPStatus(error.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in [*default_headers, *answer.raw_headers, NO_SNIFFING]]
    lines += [b"connection: close", b"", b""]
    return b"\r\n".join(lines) + bytes(answer.body)
