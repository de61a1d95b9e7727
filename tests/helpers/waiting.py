"""Waiting for a condition that nothing announces, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which what a test waits for will not come. Machines stall for many, and only failures wait so long."""


async def eventually(look: Callable[[], Awaitable[T] | T], what: str = "", *, timeout: float = PATIENCE) -> T:
    """Return what `look` returns as soon as that is true. Fails, naming `what`, when it takes too long."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        outcome = look()
        value = await outcome if isawaitable(outcome) else outcome
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or look}, last {value!r}"
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.05)
