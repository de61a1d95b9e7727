"""Token buckets: how often something may happen for each of many, in a bounded amount of memory."""

from collections import OrderedDict
from math import ceil
from typing import Final, NamedTuple

from ci_common.parsing.rates import Rate

MOST_BUCKETS: Final = 10_000
"""How many senders are known at a time. The one that was not seen for longest is forgotten, as if it had sent none."""


class Level(NamedTuple):
    """What is left in a bucket."""

    left: int
    """How many more may follow at once."""
    refilled_in: float
    """Seconds until the bucket is full again."""
    wait: float
    """Seconds until the next one may follow; 0 for at once."""


class Buckets:
    """One bucket for each sender, which holds as many tokens as the rate allows at once, and is refilled steadily.

    A bucket is one number: the time at which it is full again.
    """

    def __init__(self, rate: Rate) -> None:
        """`rate` has to be a limit."""
        self.rate = rate
        self._every = rate.seconds / rate.amount
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._full = Level(rate.amount, 0.0, 0.0)

    def level(self, sender: str, now: float) -> Level:
        """Return what is left of a sender's bucket."""
        refilled_in = self._full_at.get(sender, now) - now
        if refilled_in <= 0.0:
            return self._full
        # Of what was taken so far, a part of a token may be back.
        left = max(0, self.rate.amount - ceil(refilled_in / self._every - 1e-9))
        return Level(left, refilled_in, 0.0 if left else refilled_in - self.rate.seconds + self._every)

    def take(self, sender: str, now: float) -> None:
        """Take a token of a sender's bucket, which has one."""
        full_at = max(now, self._full_at.get(sender, now)) + self._every
        self._full_at[sender] = full_at
        self._full_at.move_to_end(sender)
        if len(self._full_at) > MOST_BUCKETS:
            self._full_at.popitem(last=False)

    def __len__(self) -> int:
        return len(self._full_at)
