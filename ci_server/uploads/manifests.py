"""Uploads by manifest: begun with a list of files, continued with the packs that the server lacks, resumed at a frame.

All that is known of one is in its directory below `incoming/`, so that any server process can go on with it, also after
a restart. While a request writes there, it holds a lock on the directory.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from starlette.requests import Request

from ci_common.archives.tasks import limits_argument
from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import InvalidUpload, RequestError, TooLarge, UploadConflict, UploadNotFound
from ci_common.jobs import is_job_id
from ci_common.manifests.entries import longest_text
from ci_common.manifests.packs import LENGTH, frame_sizes, longest_frame
from ci_common.manifests.session import Plan, Progress, Session, this_boot
from ci_common.manifests.stored import TREE, Pack
from ci_common.parsing.text import shown
from ci_common.run_directory.layout import DataDirectory
from ci_common.sandbox.channel import Task
from ci_common.sandbox.pool import Readers
from ci_common.system.disk import sync
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_server.http.requests import body_chunks
from ci_server.uploads.receiving import announced_bytes, upload_too_large
from ci_server.uploads.staging import Upload

MANIFEST = "manifest"
_CHECKS_AT_ONCE = 2
"""Packs of one upload that are checked while the next one is received."""
_FINAL = frozenset({400, 413})
"""Statuses of refusals that will not change when the request is sent again."""


async def receive_manifest(request: Request, session: Session, limits: UnpackLimits) -> None:
    """Write the request's body, a manifest, to the session. Raises TooLarge, RequestStalled, OSError."""
    most, received = longest_text(limits.members), 0
    announced_bytes(request, most)
    with (session.path / MANIFEST).open("xb", buffering=0) as file:
        async for chunk in body_chunks(request):
            received += len(chunk)
            if received > most:
                raise TooLarge(f"the manifest has more than {most} bytes (CI_MAX_MEMBERS)")
            await asyncio.to_thread(file.write, chunk)


async def plan_upload(
    readers: Readers, session: Session, *, owner: str, project: str, base: Path | None, sources: list[Path], more: Any
) -> dict[str, Any]:
    """Have the manifest of a session read, and begin to receive what it needs.

    `base` is the stored upload that the manifest is a change to; `sources` are those whose packs may be used. Returns
    the answer of `plan_task`. Raises RequestError, OSError.
    """
    argument = {
        "session": str(session.path),
        "manifest": str(session.path / MANIFEST),
        "owner": owner,
        "project": project,
        "base": None if base is None else str(base),
        "sources": [str(source) for source in sources],
        **more,
    }
    answer: dict[str, Any] = await readers.do(Task("plan", argument, session.path))
    (session.path / MANIFEST).unlink()
    return answer


@contextmanager
def opened_session(data: DataDirectory, upload_id: str, owner: str) -> Iterator[tuple[Session, Plan]]:
    """Yield an upload that is being received, locked against other requests.

    Raises UploadNotFound, also if another identity has begun it, and UploadConflict.
    """
    session = Session(data.incoming / upload_id)
    if not is_job_id(upload_id):
        raise _not_found(upload_id)
    try:
        lock = os.open(session.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _not_found(upload_id) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            plan = session.read()
        except BlockingIOError:
            raise UploadConflict(f"another request writes to upload {upload_id}; try again in a moment") from None
        except FileNotFoundError:
            raise _not_found(upload_id) from None
        if plan.owner != owner or plan.boot != this_boot():
            raise _not_found(upload_id)
        yield session, plan
    finally:
        os.close(lock)


@asynccontextmanager
async def removed_if_refused(session: Session) -> AsyncIterator[None]:
    """Remove the session if the block raises a refusal for what the client has sent."""
    try:
        yield
    except RequestError as exc:
        if exc.status in _FINAL:
            await in_thread(delete_tree, session.path)
        raise


async def receive_frames(
    request: Request, readers: Readers, session: Session, plan: Plan, frame: int, place: Upload, max_bytes: int
) -> int:
    """Receive the frames in the request's body, the first of which has the number `frame`; return how many there are.

    Frames that have arrived as a whole are kept, also if the connection breaks. Raises InvalidUpload, UploadConflict,
    TooLarge, DiskLow, RequestStalled, ClientDisconnect, OSError.
    """
    progress = await in_thread(session.resume, plan)
    if frame != progress.frames:
        raise UploadConflict(f"{progress.frames} of {plan.frames} frames have been received; go on with that one")
    if progress.bytes + announced_bytes(request, max_bytes) > max_bytes:
        raise upload_too_large(max_bytes)
    receiving = _Receiving(readers, session, plan, progress, place, max_bytes)
    try:
        await receiving.check_left()
        async for chunk in body_chunks(request):
            await receiving.take(chunk)
        await receiving.checked()
    finally:
        await receiving.close()
    return receiving.frames


async def check_received(readers: Readers, session: Session, plan: Plan, place: Upload) -> None:
    """Check that an upload is complete. Raises UploadConflict, InvalidUpload, OSError."""
    progress = await in_thread(session.resume, plan)
    if progress.frames < plan.frames:
        raise UploadConflict(f"only {progress.frames} of {plan.frames} frames have been received; send the rest")
    if progress.unchecked:
        receiving = _Receiving(readers, session, plan, progress, place, 0)
        try:
            await receiving.check_left()
            await receiving.checked()
        finally:
            await receiving.close()


class _Receiving:
    """Writes frames to packs, and has each pack checked when it is whole."""

    def __init__(
        self, readers: Readers, session: Session, plan: Plan, progress: Progress, place: Upload, max_bytes: int
    ) -> None:
        self._readers = readers
        self._session = session
        self._plan = plan
        self._place = place
        self._max_bytes = max_bytes
        self._left = deque(_frames(plan, progress))
        self._held = bytearray()
        self._bytes = progress.bytes
        self._file: int | None = None
        self._unchecked = progress.unchecked
        self._checks: set[asyncio.Task[None]] = set()
        self.frames = progress.frames

    async def take(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._bytes += len(chunk)
        if self._bytes > self._max_bytes:
            raise upload_too_large(self._max_bytes)
        self._held += chunk
        while len(self._held) >= LENGTH.size:
            if not self._left:
                raise InvalidUpload("the upload has more frames than are wanted")
            number, size, is_last = self._left[0]
            length = LENGTH.unpack_from(self._held)[0]
            if not 0 < length <= longest_frame(size):
                raise InvalidUpload(f"frame {self.frames} has a length of {length} bytes for {size} bytes of content")
            if len(self._held) < LENGTH.size + length:
                return
            frame = bytes(memoryview(self._held)[: LENGTH.size + length])
            del self._held[: LENGTH.size + length]
            await self._write(number, frame, is_last=is_last)
            self._left.popleft()
            self.frames += 1

    async def _write(self, number: int, frame: bytes, *, is_last: bool) -> None:
        pack = self._plan.packs[number]
        await in_thread(self._append, pack, frame, is_last=is_last)
        self._place.count(len(frame))
        if is_last:
            await self._begin_check(number)

    async def check_left(self) -> None:
        """Check what an interrupted request has received as a whole, and not checked."""
        for number in self._unchecked:
            await self._begin_check(number)

    async def _begin_check(self, number: int) -> None:
        while len(self._checks) >= _CHECKS_AT_ONCE:
            done, self._checks = await asyncio.wait(self._checks, return_when=asyncio.FIRST_COMPLETED)
            for check in done:
                check.result()
        self._checks.add(asyncio.create_task(self._check(number), name="check of a pack"))

    def _append(self, pack: Pack, frame: bytes, *, is_last: bool) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._session.part(pack), flags, 0o600)
        rest = memoryview(frame)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if is_last:
            self._close_file()

    async def _check(self, number: int) -> None:
        await in_thread(sync, self._session.part(self._plan.packs[number]))
        argument = {"session": str(self._session.path), "pack": self._plan.first + number}
        await self._readers.do(Task("receive", argument, self._session.workspace), on_advance=self._place.check_room)

    async def checked(self) -> None:
        """Wait until all packs that have arrived are checked. Raises InvalidUpload, OSError."""
        while self._checks:
            await self._checks.pop()

    async def close(self) -> None:
        """Wait for what is still checked, so that nothing writes to the session any more."""
        self._close_file()
        if self._checks:
            await asyncio.wait(self._checks)
            for check in self._checks:
                check.exception()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _frames(plan: Plan, progress: Progress) -> Iterator[tuple[int, int, bool]]:
    """Yield the frames still to be received: the place of their pack in the plan, the size, whether it is the last."""
    for number, pack in enumerate(plan.packs):
        sizes = frame_sizes(pack.size)
        done = len(sizes) if number < progress.packs else progress.frames_of_next if number == progress.packs else 0
        for at in range(done, len(sizes)):
            yield number, sizes[at], at == len(sizes) - 1


def stored_uploads(data: DataDirectory, job_ids: list[str]) -> list[Path]:
    """Return the stored uploads of those of the jobs that have one."""
    paths = [data.stored_upload(job_id) for job_id in job_ids]
    return [path for path in paths if (path / TREE).exists()]


def limits_of(limits: UnpackLimits) -> dict[str, Any]:
    """Return the part of a task's argument that has the limits."""
    return {"limits": limits_argument(limits)}


def _not_found(upload_id: str) -> UploadNotFound:
    return UploadNotFound(f"no upload is being received as {shown(upload_id)}; begin it again")
