"""Saves artifacts of a job as files. The server, and the job that chose their names, are not trusted.

Files are reached by open directories below the one that was named, so that no link and no name leads out of it. A file
is saved under a name of its own until it is whole, and then moved to its place; an interrupted download goes on there.
"""

import hashlib
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import anyio
import httpx

from ci_client.errors import AnswerNotUnderstood, ConnectionBroken, ContentMismatch, NotWritten, ServerError
from ci_client.escapes import visible
from ci_client.transport import Connection, checked, job_path, object_answer, translated
from ci_common.parsing.globs import Glob

DownloadProgress = Callable[[int, int], None]
"""Called with the bytes that are there so far, and those of all files."""

_AT_A_TIME: Final = 4
_CHUNK: Final = 1024 * 1024
_TRIES: Final = 5
"""How often a connection may break without a byte of progress."""
_PAUSE_SECONDS: Final = 1.0
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Saved:
    """An artifact that is there as a file now."""

    path: str
    """As the job named it."""
    file: Path
    size: int
    sha256: str
    was_there: bool
    """Whether the same content was there already."""


async def list_artifacts(connection: Connection, job_id: str, attempt: int | None) -> dict[str, Any]:
    """Return what `GET /jobs/{id}/artifacts` answers."""
    params = {} if attempt is None else {"attempt": str(attempt)}
    response = await connection.ask("GET", job_path(job_id, "artifacts"), params=params)
    found = object_answer(response)
    if not isinstance(found.get("artifacts"), list) or not all(map(_is_artifact, found["artifacts"])):
        raise AnswerNotUnderstood(f"{response.url} answered without artifacts")
    return found


def _is_artifact(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    size, digest = entry.get("size"), entry.get("sha256")
    is_whole = isinstance(size, int) and size >= 0 and isinstance(entry.get("path"), str)
    return is_whole and isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None


def chosen(artifacts: Sequence[dict[str, Any]], patterns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the artifacts that still exist and match one of the patterns; with no patterns, all that exist.

    Raises NotWritten for a pattern that matches none, ValueError for one that is no pattern.
    """
    there = [artifact for artifact in artifacts if not artifact.get("removed")]
    if not patterns:
        return there
    globs = [Glob(pattern) for pattern in patterns]
    for glob in globs:
        if not any(glob.matches(artifact["path"]) for artifact in there):
            raise NotWritten(
                f"no artifact matches {visible(glob.pattern)!r}; `ci artifacts` lists the {len(there)} that there are"
            )
    return [artifact for artifact in there if any(glob.matches(artifact["path"]) for glob in globs)]


class Download:
    """Saves artifacts of one attempt below one directory."""

    def __init__(
        self, connection: Connection, job_id: str, output: Path, *, attempt: int | None = None, replace: bool = False
    ) -> None:
        """`replace`: files that are there with other content are replaced."""
        self._connection = connection
        self._job_id = job_id
        self._output = output
        self._params = {} if attempt is None else {"attempt": str(attempt)}
        self._replace = replace
        self._written: dict[tuple[int, int], str] = {}

    async def save(
        self, artifacts: Sequence[Mapping[str, Any]], progress: DownloadProgress = lambda _there, _all: None
    ) -> list[Saved]:
        """Save the artifacts, and return them in the same order.

        Each file is there as a whole or not at all, and what was saved before an error stays. Raises NotWritten,
        ContentMismatch, ConnectionBroken, ServerUnreachable, ServerError, AnswerNotUnderstood.
        """
        wanted = [_Wanted(artifact["path"], artifact["size"], artifact["sha256"]) for artifact in artifacts]
        for one in wanted:
            one.parts = _parts_of(one.path)
        total, there = sum(one.size for one in wanted), 0
        saved: dict[int, Saved] = {}
        left = iter(enumerate(wanted))

        def note(count: int) -> None:
            nonlocal there
            there += count
            progress(there, total)

        async def work() -> None:
            for number, one in left:
                saved[number] = await self._save(one, note)

        try:
            self._output.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _not_written(self._output, exc) from exc
        await _all_at_once(work, min(_AT_A_TIME, len(wanted)))
        return [saved[number] for number in range(len(wanted))]

    async def _save(self, wanted: "_Wanted", note: Callable[[int], None]) -> Saved:
        target = self._output.joinpath(*wanted.parts)
        try:
            with _folder_of(self._output, wanted.parts[:-1]) as folder:
                name = wanted.parts[-1]
                if (is_there := self._is_there(folder, name, wanted, target)) is not None:
                    note(wanted.size)
                    return is_there
                with _Part(folder, wanted) as part:
                    note(part.size)
                    await self._fetch(part, wanted, note)
                    self._check_case(folder, name, wanted)
                    part.move_to(name)
                state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                self._written[state.st_dev, state.st_ino] = wanted.path
        except OSError as exc:
            raise _not_written(target, exc) from exc
        return Saved(wanted.path, target, wanted.size, wanted.sha256, was_there=False)

    def _is_there(self, folder: int, name: str, wanted: "_Wanted", target: Path) -> Saved | None:
        """Return what is there already, if it has the content. Raises NotWritten for what is not to be replaced."""
        try:
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(state.st_mode):
            raise NotWritten(
                f"{visible(str(target))} is a directory, and an artifact has that name; use another --output"
            )
        if stat.S_ISREG(state.st_mode) and state.st_size == wanted.size:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with open(descriptor, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256:
                    return Saved(wanted.path, target, wanted.size, wanted.sha256, was_there=True)
        self._check_case(folder, name, wanted)
        if not self._replace:
            raise NotWritten(
                f"{visible(str(target))} is there and has another content; --force replaces it, --output names another "
                "directory"
            )
        return None

    def _check_case(self, folder: int, name: str, wanted: "_Wanted") -> None:
        """Raise NotWritten if this disk takes the name for that of another artifact."""
        with suppress(FileNotFoundError):
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            other = self._written.get((state.st_dev, state.st_ino))
            if other is not None and other != wanted.path:
                raise NotWritten(
                    f"this disk takes the names of two artifacts for one: {visible(other)} and {visible(wanted.path)}; "
                    "name one of them, or save them on another disk"
                )

    async def _fetch(self, part: "_Part", wanted: "_Wanted", note: Callable[[int], None]) -> None:
        failures = 0
        while part.size < wanted.size:
            before = part.size
            try:
                await self._fetch_rest(part, wanted, note)
                if part.size < wanted.size:
                    raise ConnectionBroken(f"the connection ended within {visible(wanted.path)}")
            except ConnectionBroken:
                failures = 0 if part.size > before else failures + 1
                if failures >= _TRIES:
                    raise
                await anyio.sleep(_PAUSE_SECONDS * failures)
        if part.sha256 != wanted.sha256:
            part.discard()
            raise ContentMismatch(
                f"what was received for {visible(wanted.path)} is not what the job left: its SHA-256 is {part.sha256}, "
                f"and has to be {wanted.sha256}"
            )

    async def _fetch_rest(self, part: "_Part", wanted: "_Wanted", note: Callable[[int], None]) -> None:
        http, headers = self._connection.http, {"Accept-Encoding": "identity"}
        if part.size:
            headers |= {"Range": f"bytes={part.size}-", "If-Range": f'"{wanted.sha256}"'}
        url = job_path(self._job_id, "artifacts", *(quote(name, safe="") for name in wanted.parts))
        with translated(self._connection.server_url):
            async with http.stream("GET", url, headers=headers, params=self._params) as response:
                if response.status_code != httpx.codes.FOUND:
                    await _receive(await checked(response), part, wanted, note)
                    return
                await response.aread()
                elsewhere = response.headers.get("Location", "")
        headers.pop("If-Range", None)  # The store has tags of its own; the digest is checked in the end.
        place = _place_of(elsewhere)
        with translated(place):
            async with (
                httpx.AsyncClient(timeout=http.timeout) as store,
                store.stream("GET", elsewhere, headers=headers) as answer,
            ):
                if not answer.is_success:
                    await answer.aread()
                    raise ServerError(
                        answer.status_code,
                        f"http_{answer.status_code}",
                        f"the store of artifacts at {place} answered with status {answer.status_code}; with "
                        "CI_ARTIFACTS_LINKS=none the server sends artifacts itself",
                    )
                await _receive(answer, part, wanted, note)


def _place_of(url: str) -> str:
    """Return scheme and host of a URL, whose query is secret. Raises AnswerNotUnderstood."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise AnswerNotUnderstood("the server redirects to what is no URL")
    return f"{parsed.scheme}://{parsed.netloc.decode()}"


async def _receive(response: httpx.Response, part: "_Part", wanted: "_Wanted", note: Callable[[int], None]) -> None:
    if response.status_code != httpx.codes.PARTIAL_CONTENT and part.size:
        note(-part.size)
        part.restart()
    elif part.size and not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
        raise AnswerNotUnderstood(f"{visible(wanted.path)}: the answer is another part than the one that was asked for")
    async for chunk in response.aiter_bytes():
        if part.size + len(chunk) > wanted.size:
            part.discard()
            raise ContentMismatch(f"{visible(wanted.path)} is longer than the {wanted.size} bytes that it has to have")
        part.write(chunk)
        note(len(chunk))


@dataclass(slots=True)
class _Wanted:
    path: str
    size: int
    sha256: str
    parts: tuple[str, ...] = field(default=())


def _parts_of(path: str) -> tuple[str, ...]:
    """Return the names of a path. Raises NotWritten for one that no directory should have below it."""
    parts = tuple(path.split("/"))
    if not path or any(part in ("", ".", "..") for part in parts) or _CONTROL.search(path):
        raise NotWritten(f"the server names an artifact {visible(path)!r}, which is no name for a file here")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise NotWritten(f"the server names an artifact {visible(path)!r}, which is not valid UTF-8") from None
    return parts


@contextmanager
def _folder_of(top: Path, names: Sequence[str]) -> Iterator[int]:
    """Make and open a directory below `top`, none of whose parts may be a link. Raises OSError."""
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=descriptor)
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


class _Part:
    """A file that is not whole yet. What an earlier download has left of it is kept; a context."""

    def __init__(self, folder: int, wanted: _Wanted) -> None:
        self._folder = folder
        identity = hashlib.sha256(f"{wanted.sha256} {wanted.path}".encode()).hexdigest()
        self._name: str | None = f".ci-{identity[:40]}.part"
        self._descriptor = os.open(self._name, _FILE, 0o666, dir_fd=folder)
        state = os.fstat(self._descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(self._descriptor)
            raise NotWritten(f"{self._name} is not a file, and a download needs that name; remove it")
        self.size = 0
        self._digest = hashlib.sha256()
        if 0 < state.st_size <= wanted.size:
            while chunk := os.pread(self._descriptor, _CHUNK, self.size):
                self._digest.update(chunk)
                self.size += len(chunk)
        else:
            self.restart()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def restart(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self.size, self._digest = 0, hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            count = os.pwrite(self._descriptor, view, self.size)
            self._digest.update(view[:count])
            self.size += count
            view = view[count:]

    def discard(self) -> None:
        self.restart()
        if self._name is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)

    def move_to(self, name: str) -> None:
        assert self._name is not None, "it is moved once"
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._name = None

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *_: object) -> None:
        if self._name is not None and self.size == 0:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        os.close(self._descriptor)


async def _all_at_once(work: Callable[[], Awaitable[None]], count: int) -> None:
    """Run `work` so many times at once. The first error ends all of them, and is raised itself."""
    errors: list[Exception] = []

    async def guarded(scope: anyio.CancelScope) -> None:
        try:
            await work()
        except Exception as exc:
            errors.append(exc)
            scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(guarded, group.cancel_scope)
    if errors:
        raise errors[0]


def _not_written(target: Path, exc: OSError) -> NotWritten:
    why = "a part of the path is a link" if isinstance(exc, NotADirectoryError) else exc.strerror
    return NotWritten(f"{visible(str(target))} cannot be written: {why}")
