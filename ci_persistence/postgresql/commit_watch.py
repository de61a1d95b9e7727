"""Finds the commits of others to one PostgreSQL database.

The rows of `writers` say what has been committed, and are read every second. Notifications only make that quicker: they
do not arrive behind a pooler in transaction mode or on a connection that is dead without having been closed, and a
transaction without one costs a third of what one with it does.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

import psycopg

from ci_common.errors import Unavailable
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.postgresql.connections import Connection, Server
from ci_persistence.postgresql.pool import ReadPool
from ci_persistence.postgresql.writer import CHANNEL

_COMMITS = Statement("SELECT id, commits FROM writers WHERE id <> :own")
_PROBE = Statement("SELECT pg_notify(:channel, '')")
_POLL_SECONDS = 1.0
_PROBE_SECONDS = 10.0
"""How often a notification is sent to check that they arrive, and how long it may take."""
_RECONNECT_SECONDS = 1.0
_SILENT_SECONDS = 300.0
"""How long to do without notifications where none has ever arrived."""
_NEVER = (
    "notifications do not arrive from the database {}, so commits of other processes are seen up to a second late; "
    "where a pooler in transaction mode is between, set CI_DATABASE_LISTEN_URL to the address of the server itself"
)

logger = logging.getLogger(__name__)


class WritersWatch:
    """A `CommitWatch` that reads the table `writers`, and is woken by notifications."""

    def __init__(
        self,
        pool: ReadPool,
        listen: Server,
        writer_id: str,
        *,
        poll: float = _POLL_SECONDS,
        probe: float = _PROBE_SECONDS,
    ) -> None:
        """`pool` reads; `listen` is where to listen. `poll` and `probe` are seconds between two of each."""
        self._pool = pool
        self._listen_server = listen
        self._id = writer_id
        self._poll_seconds = poll
        self._probe_seconds = probe
        self._probe_channel = f"{CHANNEL}_{writer_id}"
        self._seen: dict[str, int] = {}
        """The number of the latest commit of each other writer that listeners have been notified of."""

    async def begin(self) -> None:
        self._seen = await self._pool.run(self._commits)

    async def run(self, notify: Callable[[], None]) -> NoReturn:
        listening = asyncio.create_task(self._listen(notify), name="notifications of the database")
        try:
            await self._poll(notify)
        finally:
            listening.cancel()
            await asyncio.wait({listening})
        raise AssertionError("unreachable")

    async def _poll(self, notify: Callable[[], None]) -> NoReturn:
        is_reachable = True
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self._look(notify)
            except Unavailable as exc:
                if not self._pool.is_open:
                    raise
                if is_reachable:
                    logger.warning("commits of other processes cannot be seen: %s", exc)
                    notify()  # Listeners look for themselves, and get the error.
                is_reachable = False
            else:
                if not is_reachable:
                    logger.info("commits of other processes can be seen again")
                    notify()
                is_reachable = True

    async def _look(self, notify: Callable[[], None]) -> None:
        found = await self._pool.run(self._commits)
        # Between the read and now, a notification may have brought a later number.
        news = {name: number for name, number in found.items() if number > self._seen.get(name, -1)}
        if news:
            self._seen |= news
            notify()

    async def _commits(self, session: Session) -> dict[str, int]:
        return {row["id"]: row["commits"] for row in await session.rows(_COMMITS, {"own": self._id})}

    async def _listen(self, notify: Callable[[], None]) -> NoReturn:
        """Listen, and connect again whenever the connection fails or has become silent."""
        known = ""
        while True:
            problem, pause = "", _RECONNECT_SECONDS
            try:
                if not await self._listen_once(notify):
                    problem, pause = _NEVER.format(self._listen_server.name), _SILENT_SECONDS
            except (Unavailable, psycopg.Error) as exc:
                problem = f"notifications of the database are interrupted: {exc}"
            if problem not in ("", known):
                logger.warning(problem)
            known = problem
            await asyncio.sleep(pause)

    async def _listen_once(self, notify: Callable[[], None]) -> bool:
        """Listen until notifications stop to arrive; return whether any has arrived."""
        connection = await self._listen_server.connect(keeps_notifications=True)
        try:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            await connection.execute(f"LISTEN {self._probe_channel}".encode())
            await self._look(notify)  # What was committed before LISTEN has notified others.
            has_arrived = False
            while await self._listen_for_probe(connection, notify):
                has_arrived = True
            return has_arrived
        finally:
            await connection.close()

    async def _listen_for_probe(self, connection: Connection, notify: Callable[[], None]) -> bool:
        """Send a probe and listen until the next one is due; return whether it has arrived."""
        await self._pool.run(self._send_probe)
        has_arrived = False
        async for notification in connection.notifies(timeout=self._probe_seconds):
            if notification.channel == self._probe_channel:
                has_arrived = True
            elif self._is_news(notification.payload):
                notify()
        return has_arrived

    async def _send_probe(self, session: Session) -> None:
        await session.rows(_PROBE, {"channel": self._probe_channel})

    def _is_news(self, payload: str) -> bool:
        """Return whether a notification is of another writer's commit that has not been seen."""
        writer, _, number = payload.partition(" ")
        if writer == self._id:
            return False
        if not number.isdecimal():  # It is not from a writer.
            return True
        is_news = int(number) > self._seen.get(writer, -1)
        if is_news:
            self._seen[writer] = int(number)
        return is_news
