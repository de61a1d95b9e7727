"""Runs in the server's process: tells of every callback that kept the event loop's thread busy for too long.

What counts is the processor time of that thread, without Python's garbage collection: how busy the machine is changes
neither. A second measure tells of other threads that held Python's lock: a beat that came late although this process
was computing all the while.
"""

import asyncio
import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_SECONDS = 0.005
_BEAT_SECONDS = 0.02
_LATE_SECONDS = 0.25
_OWN_SHARE = 0.8

Tell = Callable[[float, str], None]


class Watch:
    """Measures the callbacks of all event loops of this process."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._collecting = 0.0
        self._begun = 0.0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Measure for as long as the context lasts."""
        run = asyncio.Handle._run

        def measured(handle: asyncio.Handle) -> None:
            collected, begun = self._collecting, time.thread_time()
            run(handle)
            seconds = time.thread_time() - begun - (self._collecting - collected)
            if seconds > LIMIT_SECONDS:
                self._tell(seconds, f"{handle!r:.500}")

        asyncio.Handle._run = measured  # type: ignore[method-assign]
        gc.callbacks.append(self._on_collection)
        try:
            yield
        finally:
            gc.callbacks.remove(self._on_collection)
            asyncio.Handle._run = run  # type: ignore[method-assign]

    def _on_collection(self, phase: str, info: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if phase == "start":
            self._begun = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._begun

    def beat(self) -> None:
        """Begin to measure how late the running loop's timers are."""
        loop = asyncio.get_running_loop()
        due, used = loop.time(), time.process_time()

        def look() -> None:
            nonlocal due, used
            late, spent = loop.time() - due, time.process_time() - used
            if late > _LATE_SECONDS and spent > _OWN_SHARE * late:
                self._tell(late, "other threads did not let the event loop run")
            due, used = loop.time() + _BEAT_SECONDS, time.process_time()
            loop.call_at(due, look)

        look()


def telling(path: Path) -> Tell:
    """Return a function that appends a line of JSON to a file for each callback that was too long."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(seconds: float, what: str) -> None:
        os.write(descriptor, json.dumps([seconds, what]).encode() + b"\n")

    return tell
