"""Where generators get their decisions from: a list of numbers, so that an input can be made again and made smaller."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Numbers that are drawn from a seed, or taken from a list, with zeros after its end.

    Zero stands for the simplest choice: the first option, no further element, the plain value.
    """

    def __init__(self, source: Random | Sequence[int]) -> None:
        self.made: list[int] = []
        """What was chosen so far. A `Choices` of this list makes the same input."""
        self._source = source

    @classmethod
    def of(cls, kind: str, seed: int, number: int) -> "Choices":
        """Return the choices of one input of a run."""
        return cls(Random(f"{kind}/{seed}/{number}"))

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        if isinstance(self._source, Random):
            choice = self._source.randrange(limit)
        else:
            given = self._source[len(self.made)] if len(self.made) < len(self._source) else 0
            choice = min(given, limit - 1)
        self.made.append(choice)
        return choice

    def between(self, least: int, most: int) -> int:
        return least + self.below(most - least + 1)

    def chance(self, percent: int) -> bool:
        """Return True so often; False is the simple choice."""
        return self.below(100) >= 100 - percent

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def call(self, *makers: Callable[["Choices"], T]) -> T:
        """Return what one of these makes."""
        return self.pick(makers)(self)

    def several(self, most: int, make: Callable[["Choices"], T]) -> list[T]:
        """Return up to `most` of what `make` makes."""
        return [make(self) for _ in range(self.below(most + 1))]
