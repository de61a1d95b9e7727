"""Finds what is left after all jobs have completed, and must not be."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ci_client.aio import CiClient
from ci_common.run_directory.layout import KEPT, UNCOMMITTED, UPLOAD, DataDirectory
from ci_selftest.jobs.evidence import Promise, Violation

GONE_WITHIN_SECONDS = 30.0
COLLECTED_WITHIN_SECONDS = 240.0
"""How long a controller may take to remove what it must first have seen for a while."""
_LOOK_SECONDS = 0.1
SERVICES = ".services"
_BESIDE = re.compile(r"\.(times|artifacts|closed|stored)$")
_AGE_SECONDS = 48 * 3600.0
"""Longer than the product keeps unfinished submissions."""


async def emptied(look: Callable[[], Awaitable[list[str]]], within: float | None = None) -> list[str]:
    """Call `look` until it returns nothing, for at most so many seconds; return its last result."""
    deadline = time.monotonic() + (GONE_WITHIN_SECONDS if within is None else within)
    while True:
        left = await look()
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(_LOOK_SECONDS)


def leaks(promise: Promise, names: list[str], why: str) -> list[Violation]:
    """Return a violation for each of the names."""
    return [Violation(promise, name, why) for name in names]


def age_submissions(data: DataDirectory) -> None:
    """Make the files of unfinished submissions look old, so that servers remove them."""
    past = time.time() - _AGE_SECONDS
    interrupted = [data.incoming, *(mark.parent for mark in data.jobs.glob(f"*/{UNCOMMITTED}"))]
    for path in (path for top in interrupted for path in (*_below(top), top)):
        with suppress(FileNotFoundError):
            os.utime(path, (past, past), follow_symlinks=False)


def leaked_files(
    data: DataDirectory, jobs: Collection[str], with_uploads: Collection[str], waiting: Collection[str] = ()
) -> list[str]:
    """Return the files below the data directory that completed jobs must not leave, relative to it.

    `jobs` are the ids of all jobs, `with_uploads` of the jobs that came with an upload, `waiting` of warm containers.
    """
    allowed = _allowed(data, jobs, with_uploads)
    # Which environments may be there, their rows say.
    kept = {data.tools.name, data.downloads.name, data.trees.name}
    entries = (path.relative_to(data.path) for path in _below(data.path))
    found = [
        path for path in entries if path not in allowed and path.parts[0] not in kept and not _is_kept(path, jobs, data)
    ]
    return sorted(str(path) for path in found if path.parts[0] != "pool" or path.parts[1] not in waiting)


def _allowed(data: DataDirectory, jobs: Collection[str], with_uploads: Collection[str]) -> set[Path]:
    tops = {Path(name) for name in ("incoming", "jobs", "pool", "processes", "processes/ended")}
    tops |= {data.environments.relative_to(data.path), data.artifacts.relative_to(data.path)}
    tops |= {path.relative_to(data.path) for path in (data.owner_file, data.ca_bundle)}
    uploads = {Path("jobs", job, name) for job in with_uploads for name in ("upload.zip", UPLOAD)}
    return tops | {Path("jobs", job) for job in jobs} | uploads


def _is_kept(path: Path, jobs: Collection[str], data: DataDirectory) -> bool:
    return _is_log(path, jobs) or _is_of_an_artifact(path, jobs, data)


def _is_of_an_artifact(path: Path, jobs: Collection[str], data: DataDirectory) -> bool:
    """Return whether a path belongs to the artifacts of a job, each attempt of which has one collection."""
    match path.parts:
        case ("artifacts", job, *rest) if len(rest) < 2:
            return job in jobs
        case ("artifacts", job, attempt, _, *content):
            collections = data.artifacts / job / attempt
            with suppress(FileNotFoundError):
                return job in jobs and len(content) < 2 and len(os.listdir(collections)) == 1
    return False


def _is_log(path: Path, jobs: Collection[str]) -> bool:
    """Return whether a path is of a job's upload, a log of its services, its run directory, or a file that stays there.

    Beside that directory are the times of its log, the list of its artifacts, and the mark that its log was closed.
    """
    match path.parts:
        case ("jobs", job, "upload", _):
            return job in jobs
        case ("jobs", job, logs, *names) if logs.endswith(SERVICES):
            of_one = not names or (len(names) == 1 and names[0].endswith(".log"))
            return job in jobs and logs.removesuffix(SERVICES).isdecimal() and of_one
        case ("jobs", job, attempt):
            return job in jobs and _BESIDE.sub("", attempt).isdecimal()
        case ("jobs", job, attempt, name) if name in KEPT:
            return job in jobs and attempt.isdecimal()
    return False


def _below(directory: Path) -> Iterator[Path]:
    """Yield everything below the directory, which may change during the walk."""
    for folder, folders, files in os.walk(directory):
        yield from (Path(folder, name) for name in (*folders, *files))


async def leaked_slots(client: CiClient, slots: int, request: dict[str, Any]) -> list[Violation]:
    """Run as many jobs as there are slots, and return those that do not run at the same time as all others.

    `request` must be for a job that never ends. The jobs are cancelled before this returns. Raises ClientError.
    """
    ids = [await client.create_job(request) for _ in range(slots)]
    waiting = await emptied(lambda: _not_yet("running", client, ids))
    for job_id in ids:
        await client.cancel_job(job_id)
    endless = await emptied(lambda: _not_yet("completed", client, ids))
    why = f"of {slots} jobs at a time this one did not get a slot within {GONE_WITHIN_SECONDS:.0f} s"
    return leaks(Promise.LEAKED_SLOT, waiting, why) + leaks(
        Promise.FORGOTTEN, endless, f"it was cancelled, and did not complete within {GONE_WITHIN_SECONDS:.0f} s"
    )


async def _not_yet(status: str, client: CiClient, ids: list[str]) -> list[str]:
    jobs = [await client.get_job(job_id) for job_id in ids]
    return [str(job["job_id"]) for job in jobs if job["status"] != status]
