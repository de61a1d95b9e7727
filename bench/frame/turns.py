"""Takes samples in turns, so that other load on the machine affects all contenders alike."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


async def in_turns(
    turns: int,
    contenders: Mapping[str, Callable[[], Awaitable[T]]],
    *,
    settle: Callable[[], Awaitable[None]] | None = None,
    uncounted: int = 1,
) -> dict[str, list[T]]:
    """Call every contender once in each turn; return their results by name, one for each turn.

    The first `uncounted` turns do not count. Each turn begins with another contender, so that none always follows the
    same one. `settle` is awaited before each call; it returns once the remains of the previous call are gone.
    """
    names = list(contenders)
    taken: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(turns + uncounted):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if settle is not None:
                await settle()
            value = await contenders[name]()
            if turn >= uncounted:
                taken[name].append(value)
    return taken
