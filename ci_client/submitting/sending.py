"""Sending a project by manifest: only what the server lacks, from where an interrupted upload was.

What goes wrong in between is repeated: a broken connection is resumed, a project that changes is scanned again, and an
upload that the server has removed is begun again. Since the upload's id becomes the job's, no repetition makes a second
job.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpcore
import httpx

from ci_client.errors import (
    ConnectionBroken,
    PackingError,
    ServerError,
    ServerUnreachable,
)
from ci_client.packing.frames import Begun, Frame, ProjectChanged
from ci_client.packing.scan import Project, scan_directory
from ci_client.submitting.manifests import begun_upload, first_text, remember
from ci_client.submitting.submission import AnswerWatch, UploadProgress, repeated
from ci_client.transport import object_answer
from ci_common.manifests.packs import compressed_text

_TIMES = 3
"""How often a project is sent before it is given up."""
_THREADS = 2
_AHEAD = 3
"""Frames that are read and compressed ahead of the one that is sent."""
_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE = 5.0

Request = Callable[..., Awaitable[httpx.Response]]
"""Sends a request, with retries while the server is busy. Raises ClientError."""


class NoManifests(Exception):
    """The server does not take uploads by manifest."""


class Sender:
    """Sends projects to one server."""

    def __init__(self, request: Request, server_url: str, *, patience: float) -> None:
        """An upload whose connection breaks is resumed for `patience` seconds."""
        self._request = request
        self._server_url = server_url
        self._patience = patience

    async def submit(self, project: Project, spec: Mapping[str, Any] | None, progress: UploadProgress | None) -> str:
        """Send a project, and return its job's id. Raises NoManifests, PackingError, ClientError."""
        for _ in range(_TIMES - 1):
            try:
                return await self._submit(project, spec, progress)
            except ProjectChanged:
                pass
            except ServerError as exc:
                if exc.code != "upload_not_found":
                    raise
            project.entries = (await anyio.to_thread.run_sync(_scan_again, project.root)).entries
            project.begun = None
        try:
            return await self._submit(project, spec, progress)
        except ProjectChanged as exc:
            raise PackingError(f"{exc}, again and again; list it in .ciignore to leave it out") from exc

    async def _submit(self, project: Project, spec: Mapping[str, Any] | None, progress: UploadProgress | None) -> str:
        name = (spec or {}).get("project") or ""
        upload = project.begun or await self._begin(project, name)
        if not upload.is_received:
            await self._send(upload, project, progress)
        if progress is not None:
            total = sum(frame.size for frame in upload.frames)
            progress(total, total)  # From here on, the server may have a job.
        answer = await self._repeated("POST", f"{upload.path}/submit", json=dict(spec or {}))
        job_id = str(object_answer(answer, "job_id")["job_id"])
        await anyio.to_thread.run_sync(remember, project, self._server_url, name, job_id)
        return job_id

    async def _begin(self, project: Project, name: str) -> Begun:
        text, base = await anyio.to_thread.run_sync(first_text, project, self._server_url, name)
        params = {"project": name} if name else {}
        try:
            if base is not None:
                return await self._begun(project, text, {**params, "base": base})
        except ServerError as exc:
            if exc.code != "upload_base_gone":
                raise
        return await self._begun(project, project.manifest, params)

    async def _begun(self, project: Project, text: str, params: dict[str, str]) -> Begun:
        body = compressed_text(text)
        try:
            response = await self._repeated(
                "POST", "/uploads", params=params, content=body, headers={"Content-Type": "application/zstd"}
            )
        except ServerError as exc:
            if exc.code in ("not_found", "method_not_allowed", "http_404", "http_405"):
                raise NoManifests from exc
            raise
        project.sent_bytes += len(body)
        return begun_upload(project, object_answer(response, "upload_id"))

    async def _repeated(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send a request that does no harm when it arrives twice, again if its connection breaks."""
        return await repeated(lambda: self._request(method, path, **content))

    async def _send(self, upload: Begun, project: Project, progress: UploadProgress | None) -> None:
        """Send all frames, and go on where the server is when the connection breaks."""
        received, pause = 0, _PAUSE_SECONDS
        deadline = anyio.current_time() + self._patience
        while received < len(upload.frames):
            body = _Body(project, upload.frames, received, progress, encrypted=self._server_url.startswith("https"))
            try:
                async with aclosing(body.chunks()) as chunks:
                    await self._request(
                        "PATCH",
                        upload.path,
                        params={"frame": str(received)},
                        content=chunks,
                        headers={"Content-Type": "application/vnd.ci-server.frames"},
                        extensions=body.watch.extensions,
                    )
                return
            except (ConnectionBroken, ServerUnreachable, ServerError) as exc:
                is_lasting = isinstance(exc, ServerError) and not exc.may_pass and exc.code != "upload_conflict"
                if isinstance(exc, ServerError) and exc.code == "invalid_upload":
                    raise ProjectChanged(str(exc)) from exc  # A large file, which is not compared while it is read.
                if is_lasting or anyio.current_time() > deadline:
                    raise
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            before, received = received, await self._received(upload, received)
            if received > before:
                deadline, pause = anyio.current_time() + self._patience, _PAUSE_SECONDS

    async def _received(self, upload: Begun, before: int) -> int:
        """Return how many frames the server has; `before` if that cannot be known at present."""
        try:
            answer = object_answer(await self._request("GET", upload.path))
        except (ConnectionBroken, ServerUnreachable):
            return before
        except ServerError as exc:
            if exc.may_pass or exc.code == "upload_conflict":
                return before
            raise
        return int(answer["received"])


class _Body:
    """Frames as the body of a request. Reading stops early if the server answers early, as it does to refuse."""

    def __init__(
        self, project: Project, frames: list[Frame], first: int, progress: UploadProgress | None, *, encrypted: bool
    ) -> None:
        self._project = project
        self._frames = frames
        self._first = first
        self._progress = progress
        self._total = sum(frame.size for frame in frames)
        self._done = sum(frame.size for frame in frames[:first])
        self.watch = AnswerWatch(encrypted=encrypted)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the frames. Raises ProjectChanged, PackingError."""
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="send")
        ahead: deque[tuple[Frame, Future[bytes]]] = deque()
        rest = iter(self._frames[self._first :])
        try:
            while True:
                while len(ahead) < _AHEAD and (frame := next(rest, None)) is not None:
                    ahead.append((frame, pool.submit(self._project.frame, frame)))
                if not ahead:
                    return
                self._show()
                frame, future = ahead.popleft()
                content = await anyio.to_thread.run_sync(future.result)
                if self.watch.is_answered():
                    raise httpcore.WriteError("the server has answered")  # httpcore then reads that answer.
                yield content
                self._done += frame.size
                self._project.sent_bytes += len(content)
                self._show()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)


def _scan_again(root: Path) -> Project:
    return scan_directory(root, trusting=False)
