"""Waiting for a job's end, with a limit of time, and looking for the first test that fails."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from ci_client.aio import CiClient
from ci_client.events import log_bytes_of
from ci_client.logs.plain import plain
from ci_common.wire.stream import ATTEMPT, COMPLETE, LOG

_FAILED_TEST = re.compile(
    r".*::\S.* (?:FAILED|ERROR)\b|(?:FAILED|ERROR) \S+::|\s*--- FAIL: |test \S+ \.\.\. FAILED|\s*not ok \d+"
    r"|(?:FAIL|ERROR): \w+ \(|.*\.\.\. (?:FAIL|ERROR)$|\s*(?:FAIL|✖|✕|✗)  ?\S"
)
_LONGEST_LINE = 64 * 1024


class Watch:
    """Waits for one job. Use it once."""

    def __init__(self, client: CiClient, job_id: str, *, for_failure: bool = False) -> None:
        """With `for_failure`, the first test that fails ends the wait, too."""
        self._client = client
        self._job_id = job_id
        self._for_failure = for_failure
        self.has_ended = False
        """Whether the job has ended."""
        self.failure = ""
        """The line that says that a test has failed, before the job has ended."""

    async def wait(self, seconds: float | None, every: float, report: Callable[[], Awaitable[None]]) -> None:
        """Return when the job has ended, or a test has failed if that was asked for, or after `seconds`.

        `report` is called about every so many seconds. Cancelled, it leaves the job alone. Raises ClientError.
        """
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        following = asyncio.create_task(self._follow())
        try:
            while True:
                left = every if deadline is None else min(every, max(0.0, deadline - loop.time()))
                await asyncio.wait({following}, timeout=left)
                if following.done():
                    await following
                    return
                if deadline is not None and loop.time() >= deadline:
                    return
                await report()
        finally:
            following.cancel()
            await asyncio.wait({following})
            if not following.cancelled():
                following.exception()

    async def _follow(self) -> None:
        line = b""
        async with aclosing(self._client.stream(self._job_id, from_beginning=self._for_failure)) as events:
            async for event in events:
                kind = event["type"]
                if kind == COMPLETE:
                    self.has_ended = True
                    return
                if not self._for_failure:
                    continue
                if kind == ATTEMPT:
                    line = b""
                elif kind == LOG:
                    *ended, rest = (line + log_bytes_of(event)).split(b"\n")
                    line = rest[-_LONGEST_LINE:]
                    for text in map(plain, ended):
                        if _FAILED_TEST.match(text):
                            self.failure = text
                            return
