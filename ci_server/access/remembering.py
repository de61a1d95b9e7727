"""What the database has answered, believed for a short time, so that most requests cost no read of it."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """What the database has answered, and until when it is believed."""

    __slots__ = ("answer", "until")

    def __init__(self, answer: "asyncio.Future[T]", until: float) -> None:
        self.answer = answer
        self.until = until

    def holds(self, now: float) -> bool:
        """Return whether it is recent, and not an error."""
        if self.until <= now:
            return False
        answer = self.answer
        return not answer.done() or (not answer.cancelled() and answer.exception() is None)

    async def result(self) -> T:
        """Return the answer, or raise its error. Several requests may wait for it."""
        return self.answer.result() if self.answer.done() else await asyncio.shield(self.answer)


class Memory(Generic[T]):
    """Answers by name, of which at most `most` are kept. For one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, Remembered[T]] = OrderedDict()

    async def get(self, name: str, ask: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Return what `ask` has returned within the last `seconds`, or ask. Raises what `ask` raises."""
        now = asyncio.get_running_loop().time()
        remembered = self._known.get(name)
        if remembered is None or not remembered.holds(now):
            remembered = Remembered(asyncio.ensure_future(ask()), now + seconds)
            self._known[name] = remembered
            self._known.move_to_end(name)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return await remembered.result()

    def latest(self, name: str) -> T | None:
        """Return what was answered last, however long ago; None where that is not known, or was an error."""
        remembered = self._known.get(name)
        if remembered is None or not remembered.answer.done() or remembered.answer.cancelled():
            return None
        return None if remembered.answer.exception() is not None else remembered.answer.result()

    def until(self, name: str) -> float:
        """Return until when the answer that is known is believed; before now where none is."""
        remembered = self._known.get(name)
        return float("-inf") if remembered is None else remembered.until

    def forget(self, name: str) -> None:
        """Ask again at the next use."""
        self._known.pop(name, None)

    def forget_all(self) -> None:
        """Ask again for everything."""
        self._known.clear()
