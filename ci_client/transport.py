"""HTTP to a server: its URL, connections, answers, and httpx's errors translated into the client's."""

import asyncio
import random
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import httpx_sse

from ci_client.access.addresses import USER_AGENT, is_loopback, parts_of
from ci_client.access.credentials import checked_key, key_for
from ci_client.errors import (
    AnswerNotUnderstood,
    ConnectionBroken,
    ServerError,
    ServerUnreachable,
)

_CONNECT_SECONDS = 10.0
_ACCEPT_SECONDS = 600.0
"""How long a server may take to check and unpack an upload, or to delete many jobs."""
_LIMITED_SECONDS = 60.0
"""How long a request is sent again where too many have come."""
_UNAVAILABLE_SECONDS = 10.0
"""How long one is sent again that the server could not carry out, or perhaps not to its end."""
_SHORTEST_PAUSE = 0.2
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_OF_A_JOB = ("job_id", "status")
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class _KeyAuth(httpx.Auth):
    """Sends a key to one server, and to no other that a request is sent on to by a URL in an answer."""

    def __init__(self, key: str, server_url: httpx.URL) -> None:
        self._header = f"Bearer {key}"
        self._origin = (server_url.scheme, server_url.host, server_url.port)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        url = request.url
        if (url.scheme, url.host, url.port) == self._origin:
            request.headers["Authorization"] = self._header
        yield request


def open_http(server_url: str, *, idle_seconds: float, key: str | None = None) -> httpx.AsyncClient:
    """Return a client for `http://…`, `https://…` or `unix:///path/to.sock`.

    It sends `key` with every request, by default what `ci_client.access.credentials.key_for` finds. A connection that
    brings nothing for `idle_seconds` counts as broken. Raises ServerUnreachable for any other URL, CredentialsUnusable.
    """
    parts = parts_of(server_url)
    key = checked_key(key or key_for(server_url))
    uds = None
    if parts.scheme == "unix":
        uds, server_url = parts.path, "http://localhost"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=4)
    secure = parts.scheme == "https"
    local = uds is not None or is_loopback(parts.hostname or "")
    with translated(server_url):
        # Loading certificates takes time, and connections within this machine do not need them.
        return _Client(
            base_url=server_url,
            transport=httpx.AsyncHTTPTransport(uds=uds, limits=limits, verify=secure) if local else None,
            verify=secure,
            limits=limits,
            timeout=httpx.Timeout(idle_seconds, connect=_CONNECT_SECONDS),
            headers={"User-Agent": USER_AGENT},
            trust_env=not local,  # A proxy cannot reach this machine's loopback.
            auth=None if key is None else _KeyAuth(key, httpx.URL(server_url)),
        )


class Connection:
    """Requests to one server. An asynchronous context manager."""

    def __init__(self, server_url: str, *, idle_seconds: float, key: str | None = None) -> None:
        """As `open_http`."""
        self.server_url = server_url
        self.http = open_http(server_url, idle_seconds=idle_seconds, key=key)
        self.has_answered = False
        """Whether the server has answered any request with success."""

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.__aexit__(kind, error, trace)

    async def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Return the answer to a request. Raises what `translated` and `checked` raise.

        What the server refuses because too many requests came is sent again when it says so, for a minute at most. What
        it cannot do at present is sent again for ten seconds, if it does no more when it is done twice.
        """
        left = {"rate_limited": _LIMITED_SECONDS}
        if method in _IDEMPOTENT or "Idempotency-Key" in (content.get("headers") or {}):
            left["unavailable"] = _UNAVAILABLE_SECONDS
        while True:
            try:
                with translated(self.server_url):
                    response = await checked(await self.http.request(method, path, **content))
            except ServerError as refusal:
                pause = _pause_after(refusal)
                if pause is None or pause > left.get(refusal.code, -1.0) or not _can_be_repeated(content):
                    raise
                left[refusal.code] -= pause
                await asyncio.sleep(pause)
            else:
                self.has_answered = True
                return response

    @property
    def patient(self) -> httpx.Timeout:
        """The timeout of requests for which the server has much to do."""
        usual = self.http.timeout
        return httpx.Timeout(connect=usual.connect, read=_ACCEPT_SECONDS, write=usual.write, pool=usual.pool)


class _Client(httpx.AsyncClient):
    """A client that sends requests for files to the server that has them, as 307 says.

    It remembers that, so that a body that can be sent only once goes there at once. That server belongs to the same
    installation, so it gets the key too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._found: dict[tuple[str, str], httpx.URL] = {}

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        kind = (str(request.url.copy_with(path="/", query=None)), request.url.path.split("/")[1])
        if kind[1] == "uploads" and kind in self._found:
            request = _moved(self._with_key(request), self._found[kind])
        response = await super().send(request, **options)
        target = _target(request, response)
        if target is None:
            return response
        await response.aread()
        self._found[kind] = target
        return await super().send(_moved(request, target), **options)

    def _with_key(self, request: httpx.Request) -> httpx.Request:
        return request if self.auth is None else next(self.auth.auth_flow(request))


def _target(request: httpx.Request, response: httpx.Response) -> httpx.URL | None:
    """Return where a 307 sends the request, if it is the same path of another server."""
    if response.status_code != 307:
        return None
    try:
        target = httpx.URL(response.headers.get("Location", ""))
    except httpx.InvalidURL:
        return None
    is_same = target.raw_path == request.url.raw_path and target.scheme in ("http", "https") and not target.userinfo
    return target if is_same else None


def _moved(request: httpx.Request, target: httpx.URL) -> httpx.Request:
    """Return the same request to the server of `target`."""
    url = request.url.copy_with(scheme=target.scheme, host=target.host, port=target.port)
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
    headers.insert(0, (b"Host", url.netloc))
    return httpx.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)


@contextmanager
def translated(server_url: str) -> Iterator[None]:
    """Raise the client's errors in place of httpx's."""
    try:
        yield
    except _NEVER_SENT as exc:
        raise ServerUnreachable(f"no server answers at {server_url}: {_explain(exc)}") from exc
    except httpx_sse.SSEError as exc:  # It is a TransportError, too, but a retry does not help.
        raise AnswerNotUnderstood(f"what answers at {server_url} is not a ci-server: {_explain(exc)}") from exc
    except httpx.TransportError as exc:
        raise ConnectionBroken(f"the connection to {server_url} broke: {_explain(exc)}") from exc
    except (httpx.HTTPError, httpx.StreamError) as exc:
        raise AnswerNotUnderstood(f"what answers at {server_url} is not a ci-server: {_explain(exc)}") from exc


def _explain(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def job_path(job_id: str, *rest: str) -> str:
    """Return the URL path of a job, or of something below it."""
    return "/".join(("/jobs", quote(job_id, safe=""), *rest))


async def checked(response: httpx.Response) -> httpx.Response:
    """Return a successful response. Raises ServerError for an error, AnswerNotUnderstood for a redirect."""
    if response.is_success:
        return response
    await response.aread()
    if response.status_code < 400:
        raise AnswerNotUnderstood(f"{response.url} answered with status {response.status_code}")
    raise ServerError.of(response.status_code, response.content, response.headers.get("Retry-After"))


def _pause_after(refusal: ServerError) -> float | None:
    """Return the seconds after which the server wants to be asked again, or None if it does not say."""
    if not (refusal.retry_after or "").isdecimal():
        return None
    return max(_SHORTEST_PAUSE, int(refusal.retry_after or 0)) * random.uniform(1.0, 1.5)  # noqa: S311  # spreads retries; no secret


def _can_be_repeated(content: dict[str, Any]) -> bool:
    """Return whether the body of a request can be sent a second time."""
    return isinstance(content.get("content", b""), bytes | str) and "files" not in content


def json_answer(response: httpx.Response) -> Any:
    """Return an answer's JSON. Raises AnswerNotUnderstood if it is not JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError) as exc:
        raise AnswerNotUnderstood(f"{response.url} answered with something that is not JSON") from exc


def object_answer(response: httpx.Response, *fields: str) -> dict[str, Any]:
    """Return an answer that is a JSON object with at least these text fields. Raises AnswerNotUnderstood."""
    return _with_fields(response, json_answer(response), fields)


def job_answer(response: httpx.Response) -> dict[str, Any]:
    """Return an answer that is a job. Raises AnswerNotUnderstood."""
    return object_answer(response, *_OF_A_JOB)


def jobs_answer(response: httpx.Response) -> list[dict[str, Any]]:
    """Return an answer that is a list of jobs. Raises AnswerNotUnderstood."""
    jobs = json_answer(response)
    if not isinstance(jobs, list):
        raise AnswerNotUnderstood(f"{response.url} answered with JSON that is not a list")
    return [_with_fields(response, job, _OF_A_JOB) for job in jobs]


def _with_fields(response: httpx.Response, value: Any, fields: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AnswerNotUnderstood(f"{response.url} answered with JSON that no ci-server sends")
    for field in fields:
        if not isinstance(value.get(field), str):
            raise AnswerNotUnderstood(f"{response.url} answered without a {field}")
    return value
