"""Runs PostgreSQL's own programs. They learn the address and the password from a file that only this user can read."""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_common.errors import Unavailable
from ci_persistence.postgresql.connections import Server

_DEBIAN = "/usr/lib/postgresql"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_SERVICE = "ci_server"


async def find_program(name: str, server_version: int) -> Path:
    """Return the program of the oldest release that can work with a server of this major version.

    Raises Unavailable where there is none.
    """
    found = await asyncio.to_thread(lambda: sorted({(v, path) for path in _places(name) if (v := _version_of(path))}))
    fitting = [path for version, path in found if version >= server_version]
    if fitting:
        return fitting[0]
    package = f"install PostgreSQL's client programs (apt install postgresql-client-{server_version})"
    if not found:
        raise Unavailable(f"{name} is not installed: {package}")
    raise Unavailable(
        f"{name} is of PostgreSQL {found[-1][0]}, and the server of {server_version}, which it cannot read: {package}"
    )


def _places(name: str) -> Iterator[Path]:
    yield from Path(_DEBIAN).glob(f"*/bin/{name}")
    if found := shutil.which(name):
        yield Path(found)


def _version_of(path: Path) -> int:
    """Return the major version of a program, 0 where it cannot be run."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = _VERSION.search(done.stdout)
    return int(match[1]) if match else 0


async def run_program(server: Server, program: Path, *arguments: str) -> str:
    """Run a program that connects to `server`, and return its output. Raises Unavailable where it fails."""
    with _service_file(server) as file:
        environment = {**os.environ, "PGSERVICEFILE": str(file), "LC_ALL": "C"}
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            f"--dbname=service={_SERVICE}",
            "--no-password",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        text = " ".join(server.hidden(errors.decode(errors="replace")).split())
        raise Unavailable(f"{program.name} failed for the database {server.name}: {text[:1000]}")
    return output.decode(errors="replace")


@contextmanager
def _service_file(server: Server) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ci-database-") as directory:
        file = Path(directory) / "service"
        file.touch(mode=0o600)
        file.write_text(f"[{_SERVICE}]\n" + "".join(f"{key}={value}\n" for key, value in server.parameters.items()))
        yield file
