"""What callers are told when SQLite cannot do as it is asked."""

import asyncio
import os
import sqlite3
import stat
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.errors import Locked, Unavailable
from ci_common.jobs import State
from ci_common.system.disk import Ballast
from ci_common.system.processes import this_process
from ci_persistence.job_lists import JobFilter
from ci_persistence.open import sqlite_storage
from tests.helpers.jobs import NOON, PLENTY, bring, new_job
from tests.helpers.waiting import eventually


async def test_a_locked_database_is_unavailable_for_writes_only(path: Path) -> None:
    storage = sqlite_storage(path, busy_timeout=0.05)
    await storage.open()
    job = await storage.jobs.add(new_job(), max_queued=PLENTY)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await storage.jobs.add(new_job(), max_queued=PLENTY)
        assert await storage.queue.queued() == [job]
    await storage.jobs.add(new_job(), max_queued=PLENTY)
    await storage.close()


async def test_a_database_that_is_locked_at_the_start_is_waited_for(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = sqlite_storage(path, busy_timeout=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Locked, match=str(path)):
            await sqlite_storage(path, busy_timeout=0.05, patience=0).open()
        opening = asyncio.create_task(storage.open())
        await eventually(lambda: "waiting for the database" in caplog.text, "it says so")
        assert not opening.done()
        other.execute("ROLLBACK")
        await opening
    await storage.ping()
    await storage.close()


async def test_a_write_waits_for_other_processes(path: Path) -> None:
    storage = sqlite_storage(path)
    await storage.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(storage.jobs.add(new_job(), max_queued=PLENTY))
        await storage.ping()
        assert not adding.done()
        other.execute("ROLLBACK")
        await adding
    await storage.close()


async def test_a_submission_given_up_while_the_database_is_locked_never_becomes_a_job(path: Path) -> None:
    """The server has told its sender to send it again by then."""
    storage = sqlite_storage(path)
    await storage.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(storage.jobs.add(new_job(), max_queued=PLENTY))
        await storage.ping()
        adding.cancel()
        await asyncio.wait({adding})
        assert adding.cancelled()
        other.execute("ROLLBACK")
    kept = await storage.jobs.add(new_job(), max_queued=PLENTY)
    assert await storage.queue.queued() == [kept]
    await storage.close()


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from ci_common.system.disk import Ballast
from ci_common.errors import Unavailable
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from tests.helpers.jobs import PLENTY, new_job

async def main():
    storage = sqlite_storage(Path(sys.argv[1]))
    await storage.open()
    kept = await storage.jobs.add(new_job(), max_queued=PLENTY)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    adding = (storage.jobs.add(new_job(payload={"a": "x" * 200_000}), max_queued=PLENTY) for _ in range(9))
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes[1:]), outcomes
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await storage.jobs.add(new_job(), max_queued=PLENTY)
    assert kept in await storage.queue.queued()
    await storage.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_unavailable_until_there_is_room(path: Path) -> None:
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FULL_DISK, path, cwd=root)
    assert await process.wait() == 0


async def test_a_file_that_is_no_database_is_unavailable(path: Path) -> None:
    path.write_text("This is a letter, and a long one, to the one who opens it." * 100)
    with pytest.raises(Unavailable, match=f"{path}.*not a database"):
        await sqlite_storage(path).open()


async def test_a_directory_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        await sqlite_storage(tmp_path / "nowhere" / "jobs.db").open()


async def test_a_database_of_a_newer_version_is_unavailable(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    storage = sqlite_storage(path)
    with pytest.raises(Unavailable, match="9999"):
        await storage.open()
    with pytest.raises(Unavailable, match="not open"):
        await storage.ping()


async def test_a_damaged_database_is_unavailable(path: Path) -> None:
    storage = sqlite_storage(path)
    await storage.open()
    await storage.jobs.add(new_job(), max_queued=PLENTY)
    await storage.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(Unavailable, match="malformed"):
        await storage.open()


async def test_only_the_owner_may_read_the_database(path: Path) -> None:
    storage = sqlite_storage(path)
    await storage.open()
    await storage.jobs.add(new_job(), max_queued=PLENTY)
    await eventually(Ballast(path).is_kept, "room is kept back")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-ballast"], 0o600)
    await storage.close()


async def test_a_link_to_the_database_leads_to_the_same_jobs_and_changes(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    direct, linked = sqlite_storage(path), sqlite_storage(link)
    await direct.open()
    await linked.open()
    changes = linked.jobs.changes()
    await anext(changes)
    job = await direct.jobs.add(new_job(), max_queued=PLENTY)
    async with asyncio.timeout(5):
        while await linked.queue.queued() != [job]:
            await anext(changes)
    await changes.aclose()
    await linked.close()
    await direct.close()


async def test_closing_leaves_no_thread_and_no_file_open(path: Path) -> None:
    threads = threading.active_count()
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    storage = sqlite_storage(path)
    await storage.open()
    lease = await storage.leases.acquire(this_process(), 10)
    assert lease is not None
    await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), State.COMPLETED)
    await storage.jobs.list_jobs(JobFilter(), limit=1)
    changes = storage.jobs.changes()
    await anext(changes)
    await changes.aclose()
    await storage.close()
    await eventually(lambda: threading.active_count() <= threads, "the connections' threads have ended")
    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.db", "jobs.db-ballast"]
    if sys.platform == "linux":
        # asyncio.to_thread wakes its loop through descriptors that were there before.
        assert set(os.listdir("/proc/self/fd")) <= before


async def test_an_error_that_breaks_a_rule_is_a_value_error(path: Path) -> None:
    storage = sqlite_storage(path)
    await storage.open()
    lease = await storage.leases.acquire(this_process(), 10)
    assert lease is not None
    job = await storage.jobs.add(new_job(), max_queued=PLENTY)
    with pytest.raises(ValueError, match="conclusion_iff_completed"):
        await storage.jobs.update(job, lease, state=State.COMPLETED, end_time=NOON)
    assert await storage.jobs.get(job.id) == job
    await storage.close()
