"""Saves artifacts of a job as files. The server, and the job that chose their names, are not trusted.

Files are reached by open directories below the one that was named, so that no link and no name leads out of it. A file
is saved under a name of its own until it is whole, and then moved to its place; an interrupted download goes on there.
"""

import hashlib
import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio

from ci_client.downloading.places import PartialFile, Wanted, names_of, not_written, open_folder
from ci_client.downloading.receiving import Note, Receiver
from ci_client.errors import AnswerNotUnderstood, NotWritten
from ci_client.escapes import visible
from ci_client.transport import Connection, job_path, object_answer
from ci_common.parsing.globs import Glob

DownloadProgress = Callable[[int, int], None]
"""Called with the bytes that are there so far, and those of all files."""

_AT_A_TIME: Final = 4


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
        self._receiver = Receiver(connection, job_id, {} if attempt is None else {"attempt": str(attempt)})
        self._output = output
        self._replace = replace
        self._written: dict[tuple[int, int], str] = {}

    async def save(
        self, artifacts: Sequence[Mapping[str, Any]], progress: DownloadProgress = lambda _there, _all: None
    ) -> list[Saved]:
        """Save the artifacts, and return them in the same order.

        Each file is there as a whole or not at all, and what was saved before an error stays. Raises NotWritten,
        ContentMismatch, ConnectionBroken, ServerUnreachable, ServerError, AnswerNotUnderstood.
        """
        wanted = [
            Wanted(artifact["path"], artifact["size"], artifact["sha256"], names_of(artifact["path"]))
            for artifact in artifacts
        ]
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
            raise not_written(self._output, exc) from exc
        await _all_at_once(work, min(_AT_A_TIME, len(wanted)))
        return [saved[number] for number in range(len(wanted))]

    async def _save(self, wanted: Wanted, note: Note) -> Saved:
        target = self._output.joinpath(*wanted.parts)
        try:
            with open_folder(self._output, wanted.parts[:-1]) as folder:
                name = wanted.parts[-1]
                if (is_there := self._is_there(folder, name, wanted, target)) is not None:
                    note(wanted.size)
                    return is_there
                with PartialFile(folder, wanted) as part:
                    note(part.size)
                    await self._receiver.fetch(part, wanted, note)
                    self._check_case(folder, name, wanted)
                    part.move_to(name)
                state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                self._written[state.st_dev, state.st_ino] = wanted.path
        except OSError as exc:
            raise not_written(target, exc) from exc
        return Saved(wanted.path, target, wanted.size, wanted.sha256, was_there=False)

    def _is_there(self, folder: int, name: str, wanted: Wanted, target: Path) -> Saved | None:
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

    def _check_case(self, folder: int, name: str, wanted: Wanted) -> None:
        """Raise NotWritten if this disk takes the name for that of another artifact."""
        with suppress(FileNotFoundError):
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            other = self._written.get((state.st_dev, state.st_ino))
            if other is not None and other != wanted.path:
                raise NotWritten(
                    f"this disk takes the names of two artifacts for one: {visible(other)} and {visible(wanted.path)}; "
                    "name one of them, or save them on another disk"
                )


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
