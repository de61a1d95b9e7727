"""The schemas of self-tests: whose process has ended on this machine are dropped, and no others."""

import subprocess
from dataclasses import replace

import psycopg
import pytest

from ci_common.configuration.database_address import DatabaseUrl
from ci_common.system.processes import ProcessIdentity, identity_of, this_process
from ci_persistence.open import open_storage
from ci_persistence.postgresql import scratch
from ci_persistence.scratch import scratch_schema
from tests.helpers.postgresql.server import PostgreSQLServer


def ended_process() -> ProcessIdentity:
    process = subprocess.Popen(["sleep", "60"])
    identity = identity_of(process.pid)
    process.kill()
    process.wait()
    assert identity is not None
    return identity


async def make_schema_of(
    monkeypatch: pytest.MonkeyPatch, url: DatabaseUrl, name: str, owner: ProcessIdentity
) -> DatabaseUrl:
    with monkeypatch.context() as patched:
        patched.setattr(scratch, "this_process", lambda: owner)
        await scratch.create(url, name)
    return scratch.within(url, name)


async def test_schemas_of_killed_self_tests_are_dropped_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
    postgresql_server: PostgreSQLServer,
    postgresql_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    url, database = DatabaseUrl.parse(postgresql_url), postgresql_url.rpartition("/")[2]
    elsewhere = replace(this_process(), scope="another machine")
    await make_schema_of(monkeypatch, url, "ci_selftest_of_the_living", this_process())
    await make_schema_of(monkeypatch, url, "ci_selftest_elsewhere", elsewhere)
    of_the_dead = await make_schema_of(monkeypatch, url, "ci_selftest_of_the_dead", ended_process())
    await make_schema_of(monkeypatch, url, "others", ended_process())
    postgresql_server.run("CREATE SCHEMA ci_selftest_of_an_older_version", database)

    def schemas() -> set[str]:
        found = postgresql_server.run(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|info|public)'", database
        )
        return {name for (name,) in found}

    # A part of the killed self-test that still runs keeps a table locked.
    part = await psycopg.AsyncConnection.connect(of_the_dead.text)
    await part.execute("CREATE TABLE t ()")
    async with scratch_schema(url, "ci_selftest_new") as address:
        others = {"ci_selftest_of_the_living", "ci_selftest_elsewhere", "ci_selftest_of_an_older_version", "others"}
        assert schemas() == {*others, "ci_selftest_new"}
        async with open_storage(address) as storage:
            await storage.ping()
    assert schemas() == others
    assert "dropped the schema ci_selftest_of_the_dead" in caplog.text
    with pytest.raises(psycopg.errors.AdminShutdown):
        await part.execute("SELECT 1")
    await part.close()
