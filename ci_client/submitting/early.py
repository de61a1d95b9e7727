"""Sends a project before asyncio and httpx are imported, which takes longer than a small change takes to its job.

Only the usual course is here: a server without encryption, a change that one request holds, and answers that are no
refusals. In any other case, `sending` does the rest, from where this has come to: what is repeated, how long, and what
an error says is decided there.
"""

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlencode

import h11

from ci_client.access.addresses import USER_AGENT, is_loopback, parts_of
from ci_client.access.credentials import checked_key, key_for
from ci_client.errors import AnswerNotUnderstood, ServerError, ServerUnreachable, SubmissionUncertain, json_object
from ci_client.packing.frames import ProjectChanged
from ci_client.packing.scan import Project
from ci_client.submitting.manifests import begun_upload, first_text, remember
from ci_common.manifests.packs import compressed_text

_MOST_BYTES: Final = 4 * 1024**2
_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 600.0
_FINAL: Final = frozenset({401, 403})
"""Refusals that asking again does not change. Servers count them, to stop who tries many keys."""


class _Unusual(Exception):
    """The rest is for `sending`."""


def submit_early(
    project: Project, spec: Mapping[str, Any], server_url: str, *, on_large: Callable[[], object] = lambda: None
) -> str | None:
    """Send a project, and return its job's id; None where that is for `sending`, which knows `project.begun` then.

    `on_large` is called where that is likely, while the server reads the manifest: it may import what takes long.

    Raises what `CiClient.submit` raises, and SubmissionUncertain at Ctrl-C once the server may have a job.
    """
    parts = parts_of(server_url)
    if not _is_plain(parts):
        return None
    key, name = checked_key(key_for(server_url)), spec.get("project") or ""
    try:
        with _Server(parts, key) as server:
            _send(server, project, name, server_url, on_large)
            job_id = _submit(server, project, spec)
    except (_Unusual, ProjectChanged, OSError, h11.ProtocolError, AnswerNotUnderstood):
        return None
    remember(project, server_url, name, job_id)
    return job_id


def _is_plain(parts: SplitResult) -> bool:
    """Return whether requests go straight to the server, and as they are."""
    if parts.scheme == "unix":
        return True
    host = parts.hostname or ""
    is_plain = parts.scheme == "http" and host.isascii() and parts.username is None and parts.password is None
    return is_plain and (is_loopback(host) or not any(name.lower().endswith("_proxy") for name in os.environ))


def _send(server: "_Server", project: Project, name: str, server_url: str, on_large: Callable[[], object]) -> None:
    """Begin an upload, and send what the server lacks."""
    text, base = first_text(project, server_url, name)
    query = {**({"project": name} if name else {}), **({} if base is None else {"base": base})}
    body = compressed_text(text)
    path = f"/uploads?{urlencode(query)}" if query else "/uploads"

    def while_waiting() -> None:
        project.memory.keep_manifest(project.manifest)
        if base is None and project.bytes > _MOST_BYTES:
            on_large()

    answer = server.ask("POST", path, body, "application/zstd", while_waiting)
    project.begun = begun_upload(project, answer)
    project.sent_bytes += len(body)
    frames = project.begun.frames
    if sum(frame.size for frame in frames) > _MOST_BYTES:
        raise _Unusual
    if frames:
        body = b"".join(project.frame(frame) for frame in frames)
        server.ask("PATCH", f"{project.begun.path}?frame=0", body, "application/vnd.ci-server.frames")
        project.sent_bytes += len(body)
    project.begun = replace(project.begun, is_received=True)


def _submit(server: "_Server", project: Project, spec: Mapping[str, Any]) -> str:
    assert project.begun is not None, "it has been sent"
    try:
        answer = server.ask("POST", f"{project.begun.path}/submit", json.dumps(dict(spec)).encode(), "application/json")
    except KeyboardInterrupt as exc:
        raise SubmissionUncertain.interrupted() from exc
    if not isinstance(answer.get("job_id"), str):
        raise _Unusual
    return str(answer["job_id"])


class _Server:
    """One connection to a server."""

    def __init__(self, parts: SplitResult, key: str | None) -> None:
        """Connect. Raises OSError, ServerUnreachable."""
        self._prefix = "" if parts.scheme == "unix" else parts.path.rstrip("/")
        self._headers = [("Host", "localhost" if parts.scheme == "unix" else parts.netloc), ("User-Agent", USER_AGENT)]
        if key is not None:
            self._headers.append(("Authorization", f"Bearer {key}"))
        self._http = h11.Connection(h11.CLIENT)
        if parts.scheme == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(parts.path)
        else:
            try:
                self._socket = socket.create_connection((parts.hostname, parts.port or 80), _CONNECT_SECONDS)
            except TimeoutError:  # As `sending` would say after as long again.
                raise ServerUnreachable(f"no server answers at {parts.geturl()}: it took too long") from None
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(_ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(
        self, method: str, path: str, body: bytes, content_type: str, on_sent: Callable[[], object] = lambda: None
    ) -> dict[str, Any]:
        """Return the answer to a request; `on_sent` is called before it is awaited.

        Raises ServerError if the sender is refused, _Unusual if anything else is, OSError, h11.ProtocolError.
        """
        headers = [*self._headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))]
        request = h11.Request(method=method, target=self._prefix + path, headers=headers)
        events: tuple[h11.Event, ...] = (request, h11.Data(data=body), h11.EndOfMessage())
        self._socket.sendall(b"".join(self._http.send(event) or b"" for event in events))
        on_sent()
        status, content = 0, b""
        while not isinstance(event := self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += event.data
        if status in _FINAL:
            raise ServerError.of(status, content)
        if not 200 <= status < 300:
            raise _Unusual
        self._http.start_next_cycle()
        if not (answer := json_object(content)):
            raise _Unusual
        return answer

    def _next(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._socket.recv(1 << 16))
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise _Unusual
        return event
