"""Taking samples in turns, so that whatever else the machine does meets all contenders alike."""

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
    """Let every contender act once in each turn; return what each has returned, by name, a value for each turn.

    The first `uncounted` turns do not count. Each turn begins with another contender, so that nobody always follows
    the same one. `settle` is awaited before each act: it returns once what the act before has left has gone.
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
