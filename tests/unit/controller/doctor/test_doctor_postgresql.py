"""What the doctor finds of a PostgreSQL database."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from ci_common.findings import Finding
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.doctor import examine
from ci_persistence.open import open_installation
from ci_persistence.postgresql import inspection
from tests.helpers.postgresql.server import PostgreSQLServer, running_pooler, running_server
from tests.unit.controller.doctor.examined import found

pytestmark = pytest.mark.slow


def settings_of(url: str, directory: Path, **more: object) -> Settings:
    return Settings(database_url=url, data_dir=directory / "data", runtime="process", **more)


async def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in await examine.examine(settings)}


async def test_all_is_well(tmp_path: Path) -> None:
    with running_server(durable=True) as server:
        settings = settings_of(server.url(server.create_database()), tmp_path)
        async with open_installation(settings) as storage:
            lease = await storage.leases.acquire(this_process(), 60)
            assert lease is not None
            seen = await findings(settings)
        assert [finding for finding in seen.values() if finding.name != "engine" and finding.ok is not True] == []
        assert "UTF8, schema version 1" in seen["database"].message
        assert seen["database"].message.startswith("ci_")
        assert "they arrive" in seen["database notifications"].message
        assert f"process {this_process().pid} leads (term 1)" in seen["controller"].message
        assert "psycopg 3" in seen["versions"].message


async def test_a_host_without_the_files(tmp_path: Path, postgresql_url: str) -> None:
    seen = await findings(settings_of(postgresql_url, tmp_path, files="elsewhere", controller="off"))
    assert (seen["database"].ok, seen["data directory"].ok) == (True, True)
    assert "on another host" in seen["data directory"].message
    assert "directories" not in seen


async def test_an_empty_database(tmp_path: Path, empty_postgresql_url: str) -> None:
    seen = await findings(settings_of(empty_postgresql_url, tmp_path))
    assert (seen["database"].ok, "the first start makes them" in seen["database"].message) == (True, True)


async def test_settings_that_lose_what_was_committed(tmp_path: Path, postgresql_url: str) -> None:
    finding = await found(settings_of(postgresql_url, tmp_path), "database durability")
    assert finding.ok is False, "the server of the tests is not durable"
    assert "fsync" in finding.message
    assert "ALTER SYSTEM SET fsync = on" in finding.remedy


async def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    settings = settings_of("postgresql://user:geheim@127.0.0.1:1/ci", tmp_path)
    finding = await found(settings, "database")
    assert finding.ok is False
    assert "ci at 127.0.0.1:1" in finding.message
    assert "geheim" not in finding.message + finding.remedy


async def test_a_database_of_another_program(
    tmp_path: Path, postgresql_server: PostgreSQLServer, empty_postgresql_url: str
) -> None:
    postgresql_server.run("CREATE TABLE theirs (a integer)", empty_postgresql_url.rpartition("/")[2])
    finding = await found(settings_of(empty_postgresql_url, tmp_path), "database")
    assert (finding.ok, "is not one of ci-server's" in finding.message) == (False, True)


async def test_a_pooler_in_transaction_mode(
    tmp_path: Path, postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    name = postgresql_url.rpartition("/")[2]
    with running_pooler(postgresql_server) as port:
        pooled = postgresql_server.url(name, port=port)
        finding = await found(settings_of(pooled, tmp_path), "database notifications")
        assert (finding.ok, "CI_DATABASE_LISTEN_URL" in finding.remedy) == (None, True)
        settings = settings_of(pooled, tmp_path, database_listen_url=postgresql_url)
        finding = await found(settings, "database notifications")
        assert (finding.ok, "a pooler is between" in finding.message) == (True, True)


async def test_a_transaction_that_stays_open(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_LONG_TRANSACTION", inspection.timedelta(seconds=1))
    with psycopg.connect(postgresql_url, application_name="forgotten") as connection:
        connection.execute("SELECT 1")
        pid = connection.info.backend_pid
        while connection.execute("SELECT clock_timestamp() < now() + interval '1.1 seconds'").fetchone() == (True,):
            await asyncio.sleep(0.05)
        finding = await found(settings_of(postgresql_url, tmp_path), "dead rows")
    assert (finding.ok, finding.remedy) == (None, f"SELECT pg_terminate_backend({pid})")
    assert "forgotten" in finding.message
