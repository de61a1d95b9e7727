"""What the suites of storage need to know of an implementation, and how they use it from other processes."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest

from ci_common.system.processes import this_process
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.waiting import PATIENCE

_CHILD = """
import asyncio, sys
from ci_common.system.processes import this_process
from tests.helpers.jobs import PLENTY, new_job
%(imports)s

def heard():
    return sys.stdin.readline()

def say(text):
    print(text, flush=True)

async def main():
    storage = %(expression)s
    await storage.open()
    try:
%(body)s
    finally:
        await storage.close()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Place:
    """Where jobs are kept, for the length of a test."""

    storage: Callable[[], Storage]
    """Return one more storage, not yet open, on the same jobs."""
    imports: str
    expression: str
    """The same for another process, as Python text."""

    @asynccontextmanager
    async def process(self, body: str) -> AsyncIterator[Process]:
        """Run `body` in another process, which has `storage` open there; kill it at the end."""
        code = _CHILD % {
            "imports": self.imports,
            "expression": self.expression,
            "body": indent(dedent(body), " " * 8),
        }
        root = Path(__file__).parents[2]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=root, stdin=PIPE, stdout=PIPE)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


class Base:
    """Fixtures of every suite."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    @pytest.fixture
    async def storage(self, place: Place) -> AsyncIterator[Storage]:
        storage = place.storage()
        await storage.open()
        yield storage
        await storage.close()

    @pytest.fixture
    async def lease(self, storage: Storage) -> Lease:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        return lease


async def tell(process: Process, text: str = "go") -> None:
    """Send a line to the process's `heard`."""
    assert process.stdin is not None
    process.stdin.write(f"{text}\n".encode())
    await process.stdin.drain()


async def said(process: Process) -> str:
    """Return the next line the process says; empty once it has ended."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        return (await process.stdout.readline()).decode().removesuffix("\n")
