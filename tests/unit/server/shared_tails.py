"""A running job that many read: its database, its log, its tails, and connections with room or without."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from ci_common.errors import JobNotFound
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.system.watch import FileWatcher
from ci_server.http.exchange import Shutdown
from ci_server.streaming.event_source import Position, RecentBatches
from ci_server.streaming.framing import Reader
from ci_server.streaming.row_watcher import Follower
from ci_server.streaming.shared_tail import SharedTail, Sources
from ci_server.streaming.streams import Tails
from tests.helpers.jobs import NOON
from tests.helpers.waiting import eventually

RECENT = 512 * 1024
JOB = Job(id="job", type="container", state=State.RUNNING, submit_time=NOON, start_time=NOON)


class OneJob:
    """A database with one job, and its readers."""

    def __init__(self) -> None:
        self.job = JOB
        self.exists = True
        self.followers: list[Follower] = []

    @asynccontextmanager
    async def follow(self, job: Job, wake: Any) -> AsyncIterator[Follower]:
        follower = Follower(self.job, wake)
        self.followers.append(follower)
        try:
            yield follower
        finally:
            self.followers.remove(follower)

    async def get(self, job_id: str) -> Job:
        if not self.exists:
            raise JobNotFound(job_id)
        return self.job

    def change(self, **changes: Any) -> None:
        self.job = replace(self.job, version=self.job.version + 1, **changes)
        for follower in self.followers:
            follower.on_row(self.job)


class Connection:
    """One reader, as a server has it: sending waits while there is no room."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.room = asyncio.Event()
        self.room.set()
        self.waiting = 0
        """Bytes that wait for room."""
        self.over = False
        self.reader = Reader(self.send)

    async def send(self, message: Any) -> None:
        body = message.get("body", b"")
        self.waiting += len(body)
        if not self.room.is_set():
            await self.room.wait()
        self.waiting -= len(body)
        assert not self.over, "nothing comes behind the end"
        self.received += body
        self.over = not message["more_body"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.received.split(b"\n") if line.startswith(b"data: ")]

    @property
    def position(self) -> int:
        """The id of the last event, which is how much of the log has come."""
        found = self.received.rfind(b"id: ")
        return 0 if found < 0 else int(self.received[found + 4 : self.received.index(b"\n", found)])

    @property
    def log(self) -> bytes:
        return b"".join(event["data"].encode() for event in self.events if event["type"] == "log")


async def not_stored(_: Job) -> None:
    """Say of a log that the artifact store does not have it."""


class World:
    """A running job and its tails."""

    def __init__(self, run: RunDirectory, watcher: FileWatcher) -> None:
        self.run = run
        self.database = OneJob()
        self.shutdown = Shutdown()
        self.recent = RecentBatches(RECENT)
        sources: Any = (self.database, watcher, self.database, self.shutdown, lambda _: run, self.recent, not_stored)
        self.tails = Tails(Sources(*sources))

    def join(self, position: int = 0) -> tuple[Connection, SharedTail]:
        connection = Connection()
        return connection, self.tails.join(self.database.job, connection.reader, Position(1, position), b"")

    def write(self, data: bytes) -> None:
        with self.run.log.open("ab") as log:
            log.write(data)

    @property
    def log(self) -> bytes:
        return self.run.log.read_bytes()

    def finish(self) -> None:
        self.database.change(
            state=State.COMPLETED, conclusion=Conclusion.SUCCEEDED, exit_code=0, log_bytes=len(self.log), end_time=NOON
        )


async def all_at_head(connections: list[Connection]) -> None:
    """Wait until none of them has a task of its own."""
    await eventually(lambda: all(connection.reader.task is None for connection in connections))
