"""Many cases of one test, several at a time: each takes long, and most of that is waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

AT_ONCE = 4


async def play_each(points: Iterable[str], case: Callable[[int, str], Awaitable[None]]) -> None:
    """Play `case` with the number and name of each point. Raises ExceptionGroup that names those which failed."""
    turns = asyncio.Semaphore(AT_ONCE)
    failures: list[Exception] = []

    async def play(number: int, point: str) -> None:
        async with turns:
            try:
                await case(number, point)
            except Exception as exc:
                exc.add_note(f"at the point {point}")
                failures.append(exc)

    await asyncio.gather(*(play(number, point) for number, point in enumerate(points)))
    if failures:
        raise ExceptionGroup(f"{len(failures)} points fail", failures)
