"""Makes the choices of a failing input fewer and smaller, for as long as it still fails."""

import time
from collections.abc import Callable, Iterator

Made = list[int]
_BLOCKS = (32, 8, 3, 2, 1)


def shrunk(made: Made, fails: Callable[[Made], Made | None], *, seconds: float) -> Made:
    """Return choices that still fail. `fails` tries some, and returns those it really used, or None where they pass."""
    deadline = time.monotonic() + seconds
    improved = True
    while improved:
        improved = False
        for candidate in _candidates(made):
            if time.monotonic() > deadline:
                return made
            used = fails(candidate)
            if used is not None and _simpler(used, made):
                made, improved = used, True
                break
    return made


def _simpler(one: Made, other: Made) -> bool:
    return (len(one), one) < (len(other), other)


def _candidates(made: Made) -> Iterator[Made]:
    for size in _BLOCKS:
        for start in range(len(made) - size, -1, -size):
            yield made[:start] + made[start + size :]
    for place, value in enumerate(made):
        for smaller in dict.fromkeys((0, value // 2, value - 1)):
            if smaller < value:
                yield [*made[:place], max(smaller, 0), *made[place + 1 :]]
