"""The tails of all jobs that somebody reads, and what they have in common: one timer for pings, one end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ci_common.jobs import Job
from ci_server.http.shutdown import GRACE_SECONDS
from ci_server.streaming.connections import Reader
from ci_server.streaming.event_source import Place
from ci_server.streaming.shared_tail import SharedTail, Sources

PING_SECONDS = 15.0


class Tails:
    """At most one tail for each job. For one event loop."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._tails: dict[str, SharedTail] = {}
        self._pings: asyncio.TimerHandle | None = None

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return sum(tail.readers for tail in self._tails.values())

    def join(self, job: Job, reader: Reader, place: Place, first: bytes) -> SharedTail:
        """Tell a reader of `job` from `place` on, after `first`. Whoever gets the tail calls its `leave` in the end.

        The last that is sent has `more_body` false: behind the verdict, or without one where the server leaves, the job
        is deleted or the database cannot be read.
        """
        tail = self._tails.get(job.id)
        if tail is None:
            tail = self._tails[job.id] = SharedTail(self._sources, job, self._forget)
            if self._pings is None:
                self._pings = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)
        tail.join(job, reader, place, first)
        return tail

    @contextmanager
    def ending_with_the_server(self) -> Iterator[None]:
        """End all streams when the server leaves, and a moment later also the requests of those that do not read."""
        try:
            with self._sources.shutdown.on_shutdown(self._leave):
                yield
        finally:
            for tail in tuple(self._tails.values()):
                tail.end()
            if self._pings is not None:
                self._pings.cancel()

    def _forget(self, tail: SharedTail) -> None:
        if self._tails.get(tail.job_id) is tail:
            del self._tails[tail.job_id]

    def _ping(self) -> None:
        for tail in self._tails.values():
            tail.ping()
        self._pings = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping) if self._tails else None

    def _leave(self) -> None:
        tails = tuple(self._tails.values())
        for tail in tails:
            tail.wake()
        asyncio.get_running_loop().call_later(GRACE_SECONDS, _abandon, tails)


def _abandon(tails: tuple[SharedTail, ...]) -> None:
    for tail in tails:
        tail.abandon()
