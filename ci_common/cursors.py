"""A place in a job's stream: which attempt's log, and the byte offset in it.

On the wire it is the `id:` of events: digits for the first attempt, as in `17`, and `<attempt>-<offset>` for a later
one, as in `2-17`.
"""

import re
from dataclasses import dataclass

_TEXT = re.compile(r"(?:([1-9][0-9]{0,2})-)?([0-9]{1,18})")


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """Behind `offset` bytes of the log of `attempt`. Cursors are ordered as the stream is."""

    attempt: int = 1
    offset: int = 0

    def __str__(self) -> str:
        return str(self.offset) if self.attempt == 1 else f"{self.attempt}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Return the cursor that an event's `id:` stands for. Raises ValueError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not the id of an event")
        return cls(int(match[1] or 1), int(match[2]))


BEGINNING = Cursor()
"""Before everything."""
