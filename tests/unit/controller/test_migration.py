"""An installation moves from one database to another and back, and is the same."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import QueueFull
from ci_common.jobs import State
from ci_common.owner_file import Owner, WrongDataDirectory
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.system.processes import this_process
from ci_controller.main import claim_database
from ci_controller.migration import migrate_database
from ci_controller.ownership import AdoptionRefused, plan_adoption
from ci_persistence import moving
from ci_persistence.job_lists import JobFilter
from ci_persistence.moving import MoveRefused
from ci_persistence.open import open_installation, open_storage
from ci_persistence.sqlite.schema import migrate, migrations
from ci_persistence.storage import Storage
from ci_persistence.stores.audit import AuditFilter
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.outbox import Cursor
from tests.helpers.jobs import bring, new_job
from tests.helpers.postgresql.server import PostgreSQLServer
from tests.unit.controller.backup.backups import quiet

STATES = (State.QUEUED, State.STARTING, State.RUNNING, State.COMPLETED, State.COMPLETED)


@asynccontextmanager
async def leading(settings: Settings) -> AsyncIterator[tuple[Storage, Lease]]:
    async with open_installation(settings) as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        await claim_database(storage.installations, lease, DataDirectory(settings.data_path), settings.database)
        yield storage, lease
        await storage.leases.release(lease)


async def fill(settings: Settings, rounds: int = 3) -> None:
    async with leading(settings) as (storage, lease):
        for number in range(rounds):
            for state in STATES:
                job = await storage.jobs.add(
                    new_job(payload={"command": f"echo \u00fc {number}"}, labels={"a": "b"}, project="p"),
                    max_queued=10_000,
                )
                await bring(storage, lease, job, state)
        done = await storage.jobs.list_jobs(JobFilter(), limit=1)
        await storage.retention.delete([done[0].id])


async def everything(address: DatabaseAddress) -> dict[str, Any]:
    """Return what an installation consists of, but for who leads."""
    async with open_storage(address) as storage:
        jobs = await storage.jobs.list_jobs(JobFilter(), limit=1_000_000)
        events = await storage.outbox.read(Cursor(), limit=1_000_000)
        return {
            "jobs": jobs,
            "earlier": [job.earlier_attempts for job in jobs],
            "events": [
                (entry.cursor.position, entry.event, entry.job_id, entry.attempt, entry.time) for entry in events
            ],
            "metrics": (replace(await storage.metrics.metrics(), term=0), await storage.metrics.stage_times()),
            "removals": await storage.retention.removals(limit=1000),
            "queue": [job.id for job in await storage.queue.queued()],
            "installation": await storage.installations.get(),
            "pool": await storage.pool.get(),
        }


async def fence(address: DatabaseAddress) -> int:
    async with open_storage(address) as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        await storage.leases.release(lease)
        return lease.fence


@pytest.fixture
def file(tmp_path: Path) -> DatabaseAddress:
    return DatabaseAddress(path=tmp_path / "ci_jobs.db")


@pytest.fixture
def settings(file: DatabaseAddress) -> Settings:
    assert file.path is not None
    return Settings(db_path=file.path)


@pytest.fixture
def server(empty_postgresql_url: str) -> DatabaseAddress:
    return DatabaseAddress.parse(empty_postgresql_url)


def test_every_table_is_moved() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        migrate(database, migrations())
        rows = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        assert {name for (name,) in rows} == set(moving.TABLES)


async def test_there_and_back_it_is_the_same(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress, tmp_path: Path
) -> None:
    await fill(settings)
    async with open_storage(file) as storage:
        await storage.audit.add([command_entry("create_key", f"ci keys create ü{number}") for number in range(3)])
        noted = (await storage.audit.ends()).last
    before = await everything(file)
    done = await migrate_database(file, server, quiet)
    assert (done.rows["jobs"], done.rows["lease"]) == (len(before["jobs"]), 1) == (14, 1)
    assert await everything(server) == before
    back = DatabaseAddress(path=tmp_path / "back.db")
    assert (await migrate_database(server, back, quiet)).rows == {**done.rows, "audit": done.rows["audit"] + 1}
    for database, moves in ((server, 2), (back, 2)):
        async with open_storage(database) as storage:
            verified = await storage.audit.verify(noted)
            assert (verified.broken, verified.entries) == (None, 3 + moves)
            (latest,) = await storage.audit.list(AuditFilter(), limit=1)
            assert latest.entry.action == "migrate_database"
    assert await everything(back) == before
    assert back.path is not None
    assert back.path.stat().st_mode & 0o077 == 0


async def test_jobs_go_on_and_the_fence_does_not_go_back(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress
) -> None:
    await fill(settings, rounds=1)
    used = await fence(file)
    await migrate_database(file, server, quiet)
    moved = Settings(database_url=server.url, data_dir=settings.data_path)
    async with leading(moved) as (storage, lease):
        assert lease.fence > used
        events = await storage.outbox.read(Cursor(), limit=1000)
        job = await storage.jobs.add(new_job(), max_queued=10)
        (later,) = await storage.outbox.read(events[-1].cursor, limit=1000)
        assert later.job_id == job.id
        assert later.cursor.position > events[-1].cursor.position
    owner = Owner.read(DataDirectory(settings.data_path))
    assert owner is not None
    assert (owner.database, owner.server_id != "") == (server.name, True)


async def test_nothing_starts_with_the_source_any_more(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress
) -> None:
    await fill(settings, rounds=1)
    async with open_installation(settings) as still_running:
        await migrate_database(file, server, quiet)
        with pytest.raises(QueueFull):
            await still_running.jobs.add(new_job(), max_queued=1000)
        lease = await still_running.leases.acquire(this_process(), 60)
        assert lease is not None
        data = DataDirectory(settings.data_path)
        with pytest.raises(WrongDataDirectory, match="was moved to"):
            await claim_database(still_running.installations, lease, data, settings.database)
        await still_running.leases.release(lease)
    with pytest.raises(WrongDataDirectory, match=f"was moved to {server.name}; set CI_DATABASE_URL"):
        async with open_installation(settings):
            pass
    with pytest.raises(MoveRefused, match="was moved to"):
        await migrate_database(file, server, quiet)
    async with open_storage(file) as storage:
        with pytest.raises(AdoptionRefused, match=f"was moved to {server.name}; set CI_DATABASE_URL"):
            await plan_adoption(settings, storage, as_copy=False)


async def test_a_target_that_is_not_empty(settings: Settings, file: DatabaseAddress, server: DatabaseAddress) -> None:
    await fill(settings, rounds=1)
    async with open_storage(server) as storage:
        await storage.jobs.add(new_job(), max_queued=1)
    before = await everything(file)
    with pytest.raises(MoveRefused, match="is not empty"):
        await migrate_database(file, server, quiet)
    assert await everything(file) == before
    async with open_installation(settings):
        pass
    with pytest.raises(MoveRefused, match="is both"):
        await migrate_database(file, file, quiet)


async def test_a_controller_that_leads(settings: Settings, file: DatabaseAddress, server: DatabaseAddress) -> None:
    def renew(_: str) -> None:
        assert file.path is not None
        with closing(sqlite3.connect(file.path)) as other:
            other.execute("UPDATE lease SET renewal = renewal + 1")
            other.commit()

    async with leading(settings):
        with pytest.raises(AdoptionRefused, match="a controller leads"):
            await migrate_database(file, server, renew)


async def test_a_difference_is_found_and_changes_nothing(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(settings, rounds=1)
    before = await everything(file)
    stored = moving._stored

    def lossy(table: str, end: moving.End) -> Any:
        columns, rows = stored(table, end)
        kept = list(rows)
        return columns, iter(kept[1:] if table == "steps" or table == "attempts" else kept)

    monkeypatch.setattr(moving, "_stored", lossy)
    with pytest.raises(MoveRefused, match=r"the table attempts differs: \d+ rows .* nothing was changed"):
        await migrate_database(file, server, quiet)
    monkeypatch.undo()
    assert await everything(file) == before
    await migrate_database(file, server, quiet)
    assert await everything(server) == before


async def test_a_move_that_is_killed_after_the_target_was_committed(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(settings, rounds=1)
    before = await everything(file)

    def killed(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("ci_controller.migration.write_owner", killed)
    with pytest.raises(RuntimeError, match="killed"):
        await migrate_database(file, server, quiet)
    assert await everything(file) == before
    async with open_installation(settings):
        pass
    with pytest.raises(WrongDataDirectory, match="is a copy of"):
        async with open_installation(Settings(database_url=server.url, data_dir=settings.data_path)):
            pass


async def test_a_new_file_is_removed_if_nothing_was_moved(
    settings: Settings, file: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(settings, rounds=1)
    monkeypatch.setattr(moving, "_digest", lambda *_: moving._Digest(0, "none"))
    with pytest.raises(MoveRefused, match="differs"):
        await migrate_database(file, DatabaseAddress(path=tmp_path / "new.db"), quiet)
    assert list(tmp_path.glob("new.db*")) == []


async def test_text_with_nul_and_numbers_of_transactions(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress, postgresql_server: PostgreSQLServer
) -> None:
    await fill(settings, rounds=1)
    assert file.path is not None
    with closing(sqlite3.connect(file.path)) as database:
        database.execute("UPDATE jobs SET error = 'a' || char(0) || 'b'")
        database.execute("UPDATE outbox SET txid = 2000000000000 WHERE position % 2 = 0")
        database.commit()
    await migrate_database(file, server, quiet)
    seen = await everything(server)
    assert {job.error for job in seen["jobs"]} == {"a\ufffdb"}
    positions = [position for position, *_ in seen["events"]]
    assert positions == sorted(positions)
    async with open_storage(server) as storage:
        await storage.jobs.add(new_job(), max_queued=10_000)
        assert (await storage.outbox.read(Cursor(), limit=1000))[-1].cursor.position > positions[-1]


async def test_the_data_directory_has_to_be_here(
    settings: Settings, file: DatabaseAddress, server: DatabaseAddress
) -> None:
    await fill(settings, rounds=1)
    settings.data_path.rename(settings.data_path.with_name("elsewhere"))
    with pytest.raises(MoveRefused, match="is not here"):
        await migrate_database(file, server, quiet)
    assert json.loads((settings.data_path.with_name("elsewhere") / "installation").read_text())["server_id"] == ""
