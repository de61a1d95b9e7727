"""Removes what a server that died in the middle of a submission has left behind."""

import asyncio
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ci_common.errors import Unavailable
from ci_common.layout import UNCONFIRMED, DataDirectory
from ci_persistence.repository import JobRepository

_INTERVAL = 3600.0
_GRACE = 3600.0
"""Seconds after which a submission that has not moved is nobody's any more."""

logger = logging.getLogger(__name__)


async def sweep_for_ever(data: DataDirectory, repository: JobRepository) -> None:
    """Sweep now and then every hour."""
    while True:
        try:
            await sweep(data, repository, before=time.time() - _GRACE)
        except (OSError, Unavailable) as exc:
            logger.warning("could not clear away abandoned submissions: %s", exc)
        await asyncio.sleep(_INTERVAL)


async def sweep(data: DataDirectory, repository: JobRepository, *, before: float) -> None:
    """Remove submissions that nobody has written to since `before`, in seconds since 1970.

    A directory below jobs/ goes only where its submission never got as far as a row.
    """
    stale = await asyncio.to_thread(lambda: list(_stale(data.incoming, before)))
    moved = [path.parent for path in data.jobs.glob(f"*/{UNCONFIRMED}") if path.lstat().st_mtime < before]
    known = await repository.get_many([path.name for path in moved])
    for path in moved:
        if path.name in known:
            (path / UNCONFIRMED).unlink(missing_ok=True)
        else:
            stale.append(path)
    for path in stale:
        logger.info("removing the abandoned submission %s", path)
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def _stale(incoming: Path, before: float) -> Iterator[Path]:
    for path in incoming.iterdir():
        try:
            newest = max(entry.lstat().st_mtime for entry in (path, *path.glob("*"), *path.glob("*/workspace/*")))
        except OSError:
            continue  # It has just been moved or removed.
        if newest < before:
            yield path
