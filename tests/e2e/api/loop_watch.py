"""How long an event loop is kept from its other work: the processor time of each of its callbacks."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LONGEST_CALLBACK = 0.005
"""Seconds of processor time that a request may take of the event loop at once."""


@dataclass
class LoopWatch:
    """What callbacks of this thread's event loops have taken since the watch began."""

    longest: float = 0.0
    """Seconds of processor time of the longest one; other threads and other programs do not count."""
    callback: str = ""
    """Which one that was."""

    def note(self, seconds: float, handle: "asyncio.Handle") -> None:
        if seconds > self.longest:
            self.longest, self.callback = seconds, repr(handle)[:500]

    def check(self, what: object = "") -> None:
        """Fail, naming `what`, where a callback has taken too long."""
        assert self.longest <= LONGEST_CALLBACK, f"{what}: {self.longest * 1000:.1f} ms in {self.callback}"


@contextmanager
def watched_loop() -> Iterator[LoopWatch]:
    """Watch the callbacks of asyncio's own event loops (uvloop's are not seen).

    What shares the loop is watched, too: a test's client belongs into a thread. What exists before is kept out of
    garbage collections from then on, so that the objects of other tests take none of the time.
    """
    watch = LoopWatch()
    run = asyncio.Handle._run

    def timed(handle: "asyncio.Handle") -> Any:
        begun = time.thread_time()
        try:
            return run(handle)
        finally:
            watch.note(time.thread_time() - begun, handle)

    gc.collect()
    gc.freeze()
    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
