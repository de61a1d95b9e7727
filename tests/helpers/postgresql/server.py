"""A real PostgreSQL server of the tests' own, and a pooler before it."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from psycopg.rows import tuple_row

from ci_persistence.postgresql.database import PostgreSQLDatabase
from tests.engine.api import EngineError
from tests.engine.packages import can_install, install_packages
from tests.helpers.scripts import provide
from tests.helpers.waiting import PATIENCE

_PREFIX = "ci-test-postgresql-"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "autovacuum_naptime": "10s",
}
_STOPS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def require_programs() -> Path:
    """Return the directory of PostgreSQL's programs; without them, skip the test."""
    found = _programs()
    problem = "only root on Debian can install it here"
    if found is None and can_install():
        try:
            install_packages(["postgresql"])
        except EngineError as error:
            problem = str(error)
        found = _programs()
    if found is None:
        pytest.skip(f"PostgreSQL's server is missing: {problem}")
    return found


def _programs() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if places:
        return places[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def as_user(command: list[str | Path]) -> list[str | Path]:
    """Return `command` as a user that PostgreSQL accepts; the process ends with this one."""
    prefix: list[str | Path] = []
    if shutil.which("setpriv"):
        prefix = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:
            prefix += ["--reuid", "postgres", "--regid", "postgres", "--init-groups"]
    return [*prefix, *command]


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class PostgreSQLServer:
    """One cluster in a directory of its own. It has the same port all its life."""

    def __init__(self, directory: Path, programs: Path, *, durable: bool) -> None:
        self.directory = directory
        self.port = free_port()
        self._programs = programs
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def make(self) -> None:
        """Make the cluster."""
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        made = subprocess.run(
            as_user([self._programs / "initdb", *options, "-D", self.directory / "data"]),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr

    def start(self, **options: str) -> None:
        """Start the server, and wait until it answers. It ends with the thread that has called this."""
        self._launch(options)
        self._wait()

    async def start_again(self) -> None:
        """The same while the event loop goes on."""
        self._launch({})
        await asyncio.to_thread(self._wait)

    def _launch(self, options: dict[str, str]) -> None:
        assert self._process is None
        every = {
            **_OPTIONS,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "fsync": "on" if self._durable else "off",
            **options,
        }
        command: list[str | Path] = [self._programs / "postgres", "-D", self.directory / "data"]
        for name, value in every.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(as_user(command), cwd="/", stdout=log, stderr=log)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server as pg_ctl does, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(_STOPS[mode])
            self._process.wait(PATIENCE)
            self._process = None

    def kill(self) -> None:
        """Kill all of the server's processes."""
        assert self._process is not None
        processes = [self._process.pid, *self._children()]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None
        deadline = time.monotonic() + PATIENCE
        while any(_lives(pid) for pid in processes):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def is_running(self) -> bool:
        return self._process is not None

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def run(self, statement: str, database: str = "postgres", values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True, row_factory=tuple_row) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, template: str = "template1") -> str:
        """Make a database, and return its name."""
        name = f"ci_{os.getpid()}_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        if template != "template1":  # Installations have different ids.
            self.run("UPDATE installation SET id = replace(CAST(gen_random_uuid() AS text), '-', '')", name)
        return name

    def drop_database(self, name: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def end_connections(self, database: str) -> int:
        """Terminate all sessions of a database, and return how many there were."""
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        return len(self.run(ended, values=[database]))

    def _children(self) -> Iterator[int]:
        assert self._process is not None
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == self._process.pid:
                    yield int(entry.name)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[PostgreSQLServer]:
    """Run a server with an empty cluster; nothing of it is left at the end.

    A server that is not `durable` is quicker, and loses what it has where the machine loses power.
    """
    programs = require_programs()
    with new_directory() as directory:
        server = PostgreSQLServer(directory, programs, durable=durable)
        try:
            server.make()
            server.start()
            yield server
        finally:
            server.stop("immediate")


@contextmanager
def new_directory() -> Iterator[Path]:
    """Make a directory that PostgreSQL's user can reach, which pytest's are not."""
    _remove_those_of_the_dead()
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_copy(server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """Run another server with what `server` has now, as a replica that is behind has it."""
    server.stop()
    with new_directory() as directory:
        subprocess.run(["cp", "-a", server.directory / "data", directory / "data"], check=True)
        server.start()
        copy = PostgreSQLServer(directory, require_programs(), durable=False)
        try:
            copy.start()
            yield copy
        finally:
            copy.stop("immediate")


def empty_installation(server: PostgreSQLServer) -> str:
    """Make a database with the present schema, to be a template, and return its name."""
    name = server.create_database()
    asyncio.run(_opened_once(server.url(name)))
    return name


async def _opened_once(url: str) -> None:
    database = PostgreSQLDatabase(url)
    await database.open()
    await database.close()


def _remove_those_of_the_dead() -> None:
    """Remove what runs of tests have left that were killed; their servers have ended with them."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(IndexError, ValueError):
            if not _lives(int(directory.name[len(_PREFIX) :].split("-")[0])):
                shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_pooler(server: PostgreSQLServer) -> Iterator[int]:
    """Run PgBouncer in transaction mode before `server`; gives its port."""
    provide("pgbouncer")
    port = free_port()
    file = server.directory / f"pgbouncer-{port}.ini"
    file.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 5\nmax_client_conn = 200\n"
    )
    with (server.directory / "pgbouncer.log").open("ab") as log:
        process = subprocess.Popen(as_user(["pgbouncer", file]), cwd="/", stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(server.url(port=port)).close()
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait(PATIENCE)
