"""Spare workspaces: copies of the trees of large uploads, made for the next upload of the same project.

To write the files of a large tree takes a second and more. The next upload is mostly the same tree, so it takes the
spare workspace of its base by one rename, and writes only what has changed. No job ever sees a spare workspace. It lies
in the directory of the job whose tree it has, and goes with it; the garbage collector removes those that are not used
within an hour.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from pathlib import Path

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import CiError
from ci_common.jobs import new_job_id
from ci_common.manifests.session import Plan, spare_workspace
from ci_common.manifests.tasks import fill_apart
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.disk import Disk
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree

LEAST_FILES = 500
LEAST_BYTES = 16 * 1024**2
"""The workspace of a project that has less than both is written in less time than others notice."""
_ROOM = 4
"""So many times the size of the tree have to be free."""

log = logging.getLogger(__name__)


class Spares:
    """Makes spare workspaces, one at a time, as an asynchronous context. For one event loop."""

    def __init__(self, data: DataDirectory, disk: Disk, limits: UnpackLimits, most: int) -> None:
        """At most `most` of those that this process has made are kept."""
        self._data = data
        self._disk = disk
        self._limits = limits
        self._most = most
        self._made: deque[Path] = deque()
        self._wanted: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Spares":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def want(self, job_id: str, plan: Plan) -> None:
        """Make a spare workspace of a job's tree, unless it is small, or a later one is wanted before it is begun."""
        if self._most == 0 or (plan.files < LEAST_FILES and plan.size < LEAST_BYTES):
            return
        try:
            self._disk.check(wanted=_ROOM * plan.size)
        except CiError:
            return
        self._wanted = job_id
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._make_wanted(), name="spare workspaces")

    async def _make_wanted(self) -> None:
        while (job_id := self._wanted) is not None:
            self._wanted = None
            try:
                await self._make(job_id)
            except (CiError, OSError) as exc:
                log.info("no spare workspace is made for job %s: %s", job_id, exc)

    async def _make(self, job_id: str) -> None:
        spare = spare_workspace(self._data.job(job_id))
        draft = spare.with_name(f"{spare.name}.{new_job_id()}")
        draft.mkdir()
        await fill_apart(self._data.stored_upload(job_id), draft, self._limits, is_idle=True)
        draft.rename(spare)
        self._made.append(spare)
        while len(self._made) > self._most:
            with suppress(OSError):
                await in_thread(delete_tree, self._made.popleft())
