"""Removes what a server that died in the middle of a submission has left behind."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path

from ci_common.errors import Unavailable
from ci_common.run_directory.layout import UNCONFIRMED, DataDirectory
from ci_common.system.directory_scan import scan_gently
from ci_common.system.trees import delete_tree
from ci_persistence.repository import JobRepository

_INTERVAL = 3600.0
_HOURS_BETWEEN_WALKS = 6
"""For submissions that had got as far as a job's directory, all of them are looked at."""
_GRACE = 3600.0
"""Seconds after which a submission that has not moved is nobody's any more."""

logger = logging.getLogger(__name__)


async def sweep_for_ever(data: DataDirectory, repository: JobRepository) -> None:
    """Sweep now and then every hour."""
    for number in count():
        try:
            await sweep(data, before=time.time() - _GRACE)
            if number % _HOURS_BETWEEN_WALKS == 0:
                await sweep_moved(data, repository, before=time.time() - _GRACE)
        except (OSError, Unavailable) as exc:
            logger.warning("could not clear away abandoned submissions: %s", exc)
        await asyncio.sleep(_INTERVAL)


async def sweep(data: DataDirectory, *, before: float) -> None:
    """Remove submissions below incoming/ that nobody has written to since `before`, in seconds since 1970."""
    await _remove(await asyncio.to_thread(lambda: list(_stale(data.incoming, before))))


async def sweep_moved(data: DataDirectory, repository: JobRepository, *, before: float) -> None:
    """Do the same below jobs/: a directory goes only where its submission never got as far as a row."""
    async with aclosing(scan_gently(data.jobs, partial(_unconfirmed, before))) as found:
        async for moved in found:
            known = await repository.get_many([path.name for path in moved])
            for path in moved:
                if path.name in known:
                    (path / UNCONFIRMED).unlink(missing_ok=True)
            await _remove([path for path in moved if path.name not in known])


async def _remove(paths: list[Path]) -> None:
    for path in paths:
        logger.info("removing the abandoned submission %s", path)
        try:
            await asyncio.to_thread(delete_tree, path)
        except OSError as exc:
            logger.warning("%s cannot be removed: %s", path, exc)


def _unconfirmed(before: float, job: "os.DirEntry[str]") -> list[Path]:
    """Return the job's directory if its row is not known to stand, and was not before then either."""
    path = Path(job.path)
    try:
        return [path] if (path / UNCONFIRMED).lstat().st_mtime < before else []
    except OSError:
        return []  # It is confirmed, or has just been removed.


def _stale(incoming: Path, before: float) -> Iterator[Path]:
    for path in incoming.iterdir():
        try:
            newest = max(entry.lstat().st_mtime for entry in (path, *path.glob("*"), *path.glob("*/workspace/*")))
        except OSError:
            continue  # It has just been moved or removed.
        if newest < before:
            yield path
