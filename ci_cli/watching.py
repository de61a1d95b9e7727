"""`ci run --watch`: a job for the project as it is, and a new one after every change to it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ci_cli.connection import Connection
from ci_cli.console import say, show_raw
from ci_cli.follow import JobFollower, stopped, wait_for_end
from ci_client.errors import ClientError, OutputClosed, OutputFailed, PackingError, ServerError
from ci_client.escapes import visible
from ci_client.packing.scan import Project, scan_directory
from ci_common.manifests.entries import FOLDER
from ci_common.system.watch import FileWatcher, Subscription, Watched

QUIET_SECONDS = 0.1
"""How long nothing may change before the project is looked at: editors and version control write many files at once."""
LONGEST_WAIT_SECONDS = 2.0
"""After so long, it is looked at although something still changes."""
LOAD = 4
"""After a look that took t seconds, there is none for so many times t."""
_NAMED = 3
_LONG_SECONDS = 3600.0

Submit = Callable[[Project], Awaitable[str]]


class ProjectWatch:
    """A project, and what changes in it. What is left out of an upload is no part of it, and no change either."""

    def __init__(self, root: Path, watcher: FileWatcher) -> None:
        self._root = root
        self._watcher = watcher
        self._folders: set[str] = set()
        self._wakeups: Subscription = watcher.subscribe()
        self._known: dict[str, Any] = {}
        self._problem = ""

    async def scan(self) -> Project:
        """Return the project as it is now; all that changes from then on is noticed. Raises PackingError."""
        while True:
            project = await asyncio.to_thread(scan_directory, self._root, to_send=True)
            folders = _folders(project)
            if folders == self._folders:
                self._known = {entry.path: entry for entry in project.entries}
                return project
            # What changed before the folders were watched is in the next scan.
            self._folders = folders
            self._wakeups.close()
            self._wakeups = self._watcher.subscribe(*((self._root / name, Watched.CHANGES) for name in folders))

    async def changed(self) -> tuple[Project, list[str]]:
        """Return the project once it has changed since the last scan, and the paths that differ."""
        while True:
            await self._wakeups.wait(_LONG_SECONDS)
            until = time.monotonic() + LONGEST_WAIT_SECONDS
            while await self._wakeups.wait(QUIET_SECONDS) and time.monotonic() < until:
                pass
            known, begun = self._known, time.monotonic()
            try:
                project = await self.scan()
            except PackingError as exc:
                self._complain(str(exc))
            else:
                self._problem = ""
                if paths := sorted(path for path, _ in known.items() ^ self._known.items()):
                    return project, list(dict.fromkeys(paths))
            await asyncio.sleep(LOAD * (time.monotonic() - begun))

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            say(problem, problem=True)

    def close(self) -> None:
        self._wakeups.close()


def _folders(project: Project) -> set[str]:
    """Return the folders of a project, the root among them as an empty text."""
    found = {""}
    for entry in project.entries:
        path = entry.path if entry.kind == FOLDER else entry.path.rpartition("/")[0]
        while path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return found


class Rerunner:
    """Runs a project again and again. At most one of its jobs is under way."""

    def __init__(
        self, connection: Connection, submit: Submit, *, as_json: bool, raw: bool, verbose: bool = False
    ) -> None:
        self._connection = connection
        self._submit = submit
        self._as_json = as_json
        self._raw = raw
        self._verbose = verbose
        self._job_id: str | None = None
        """The job that may be under way."""

    async def run(self, root: Path) -> int:
        """Run until cancelled, which cancels the job that is under way. Raises PackingError for the first scan."""
        async with FileWatcher() as watcher:
            watch = ProjectWatch(root, watcher)
            project, paths, number = await watch.scan(), list[str](), 1
            change: asyncio.Task[tuple[Project, list[str]]] | None = None
            try:
                while True:
                    self._announce(number, paths)
                    change = asyncio.create_task(watch.changed())
                    await self._run_once(project, change)
                    if not change.done():
                        say("waiting for changes; Ctrl-C ends")
                    project, paths = await change
                    number += 1
            finally:
                if change is not None:
                    await stopped(change)
                watch.close()
                await self._cancel(waits=self._connection.embedded)  # No other controller would stop it.

    def _announce(self, number: int, paths: list[str]) -> None:
        if self._as_json:
            show_raw(json.dumps({"type": "run", "run": number, "changed": paths}) + "\n")
        names = ", ".join(visible(path) for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        say(f"──── run {number}" + (f": {names}{more} changed" if paths else ""))

    async def _run_once(self, project: Project, change: "asyncio.Task[Any]") -> None:
        """Submit the project and show its job until it has ended, or until there is a newer state of the project."""
        following: asyncio.Task[int] | None = None
        try:
            # A submission that is broken off leaves open whether there is a job.
            self._job_id = job_id = await self._submit(project)
            say(f"job {job_id}")
            follower = JobFollower(
                self._connection, job_id, as_json=self._as_json, raw=self._raw, verbose=self._verbose
            )
            following = asyncio.create_task(follower.show(from_beginning=True))
            await asyncio.wait({following, change}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                await following
                self._job_id = None
                return
            await stopped(following)
            follower.say(f"cancelling job {job_id}: the project has changed")
            await self._cancel()
        except (OutputClosed, OutputFailed):
            raise
        except ClientError as exc:  # As for a ci.yaml with an error, which the next change may mend.
            if isinstance(exc.__cause__, asyncio.CancelledError):
                raise
            say(str(exc), problem=True)
        finally:
            if following is not None:
                await stopped(following)

    async def _cancel(self, *, waits: bool = False) -> None:
        """Cancel the job that may be under way; with `waits`, return once it has ended."""
        job_id, self._job_id = self._job_id, None
        if job_id is None:
            return
        with suppress(ServerError):  # It has just ended, or is gone.
            await self._connection.client.cancel_job(job_id)
            if waits:
                await wait_for_end(self._connection, job_id)
