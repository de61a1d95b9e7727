"""Contents of artifacts as files: `JOB/ATTEMPT/COLLECTION/NUMBER`, with `.zst` behind it where it is compressed."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ci_common.artifacts.frames import FrameReader, FrameWriter, pays
from ci_common.artifacts.store import CHUNK, Content, ContentLost, Kept, Source
from ci_common.jobs import is_job_id
from ci_common.system.disk import Disk, sync, sync_all
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree

COMPRESSED = ".zst"
_FEW = 64
"""So many files are waited for one by one until they are on the disk; for more, for all that is written there."""
_PART = 64
"""So many files are written by one thread, one after the other."""
_MOST_THREADS = 2


class DirectoryStore:
    """A directory of this machine. No job can reach it: only jobs that run as this user could write into it."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        """Nothing is kept that would leave less free than the watermark of `disk`."""
        self._path = path
        self._disk = disk

    async def keep(self, sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        return await in_thread(self._keep, sources, check)

    def _keep(self, sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        synced = len(sources) <= _FEW
        folders: set[str] = set()

        def keep(some: Sequence[Source]) -> list[Kept | Exception]:
            outcomes: list[Kept | Exception] = []
            for source in some:
                check()
                outcomes.append(self._keep_one(source, folders, synced=synced))
            return outcomes

        parts = [sources[start : start + _PART] for start in range(0, len(sources), _PART)]
        if len(parts) == 1:
            outcomes = keep(sources)
        else:
            with ThreadPoolExecutor(min(_MOST_THREADS, len(parts), os.cpu_count() or 1), "artifacts") as threads:
                outcomes = [outcome for part in threads.map(keep, parts) for outcome in part]
        if not folders:
            return outcomes
        if not synced:
            sync_all(self._path)
        else:
            for folder in {self._path}.union(*(_up_to(self._path, Path(folder)) for folder in folders)):
                sync(folder)
        return outcomes

    def _keep_one(self, source: Source, folders: set[str], *, synced: bool) -> Kept | Exception:
        target = self._place(source.key)
        try:
            if self._disk is not None:
                self._disk.check(wanted=source.expected)
            folder = os.path.dirname(target)
            if folder not in folders:
                self._path.mkdir(mode=0o700, exist_ok=True)
                os.makedirs(folder, mode=0o700, exist_ok=True)
                folders.add(folder)
            end, size = _write(source, target, synced=synced)
        except Exception as exc:
            for end in ("", COMPRESSED):
                with suppress(OSError):
                    os.unlink(f"{target}{end}")
            return exc
        return Kept(source.key + end, size)

    async def open(self, key: str, size: int) -> Content:
        try:
            descriptor = os.open(self._place(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise ContentLost(f"the artifact store has no {key}") from exc
        try:
            content = (_Frames if key.endswith(COMPRESSED) else _File)(descriptor, size)
        except OSError as exc:
            os.close(descriptor)
            raise ContentLost(f"{key}: {exc}") from exc
        return content

    async def link(self, key: str, seconds: float) -> str | None:  # noqa: ARG002  # as the protocol has it
        return None

    async def remove(self, prefix: str) -> None:
        await in_thread(delete_tree, Path(self._place(prefix)))

    async def jobs(self) -> AsyncGenerator[str, None]:
        try:
            names = await asyncio.to_thread(os.listdir, self._path)
        except FileNotFoundError:
            return
        for name in sorted(names):
            if is_job_id(name):
                yield name

    def _place(self, key: str) -> str:
        assert not {"", ".", ".."} & {*key.split("/")}, f"{key!r} is a key"
        return f"{self._path}/{key}"


def _up_to(top: Path, folder: Path) -> Iterator[Path]:
    """Yield a folder and those above it, below `top`."""
    while folder != top:
        yield folder
        folder = folder.parent


def _write(source: Source, target: str, *, synced: bool) -> tuple[str, int]:
    """Write the content to `target`, or compressed beside it; return what its name ends with, and its size there."""
    chunks = source.chunks()
    first = next(chunks, b"")
    frames = FrameWriter() if pays(first) else None
    end = "" if frames is None else COMPRESSED
    descriptor = _create(target + end)
    try:
        chunk: bytes | None = first
        while chunk:
            _write_all(descriptor, chunk if frames is None else frames.frame(chunk))
            chunk = next(chunks, None)
        if frames is not None:
            _write_all(descriptor, frames.end())
        if synced:
            os.fsync(descriptor)
        return end, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _create(path: str) -> int:
    """Return a new file that is open for writing. Nothing is truncated: ext4 writes out such files one by one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, 0o600)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


class _File:
    """A content as it is."""

    def __init__(self, descriptor: int, size: int) -> None:
        if os.fstat(descriptor).st_size != size:
            raise OSError(f"it has {os.fstat(descriptor).st_size} bytes in the artifact store, and had {size}")
        self._descriptor = descriptor
        self.size = size

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            chunk = await asyncio.to_thread(os.pread, self._descriptor, min(CHUNK, end - start), start)
            if not chunk:
                raise OSError("the content has become shorter while it was being read")
            start += len(chunk)
            yield chunk

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Frames(_File):
    """A content that is compressed."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._reader = FrameReader(descriptor)
        if self._reader.size != size:
            raise OSError(f"it has {self._reader.size} bytes in the artifact store, and had {size}")
        self._descriptor = descriptor
        self.size = size

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            chunk = await asyncio.to_thread(self._reader.read, start, end)
            if not chunk:
                raise OSError("the content has become shorter while it was being read")
            start += len(chunk)
            yield chunk
