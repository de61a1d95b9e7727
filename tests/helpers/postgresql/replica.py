"""A physical replica of a server, which takes over when the server is dead."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.helpers.postgresql.server import PostgreSQLServer, as_user, new_directory, require_programs
from tests.helpers.waiting import PATIENCE, eventually


@contextmanager
def running_replica(server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """Run a hot standby of `server`, which follows it until `promote`."""
    programs = require_programs()
    with new_directory() as directory:
        source = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
        copy: list[str] = ["-D", str(directory / "data"), "-R", "-X", "stream", "-c", "fast"]
        made = subprocess.run(
            as_user([programs / "pg_basebackup", *source, *copy]), cwd="/", capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        replica = PostgreSQLServer(directory, programs, durable=True)
        try:
            replica.start()
            yield replica
        finally:
            replica.stop("immediate")


async def make_synchronous(server: PostgreSQLServer) -> None:
    """Have `server` confirm a commit only once its replica has it, too."""
    server.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
    server.run("SELECT pg_reload_conf()")
    state = "SELECT sync_state FROM pg_stat_replication"
    await eventually(lambda: server.run(state) == [("sync",)], "the replica is synchronous", timeout=PATIENCE)


def promote(replica: PostgreSQLServer) -> None:
    """Have a replica take over, and return once it writes."""
    assert replica.run("SELECT pg_promote(true, 60)") == [(True,)]


def url_of_either(first: PostgreSQLServer, second: PostgreSQLServer, database: str) -> str:
    """Return the URL of a database on whichever of the two servers writes."""
    hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"
