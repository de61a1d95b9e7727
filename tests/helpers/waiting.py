"""Waiting for what is about to happen, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

Result = TypeVar("Result")


async def eventually(
    condition: Callable[[], Result | Awaitable[Result]], timeout: float = 5.0, *, interval: float = 0.005
) -> Result:
    """Return the first true result of `condition`, plain or awaitable; fail after `timeout` seconds without one."""
    deadline = time.monotonic() + timeout
    while True:
        outcome = condition()
        result = await outcome if isawaitable(outcome) else outcome
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {timeout} s: {condition}, last {result!r}"
        await asyncio.sleep(interval)
