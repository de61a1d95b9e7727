"""What `ci doctor` finds, one fact at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What was looked at, in a word or two, as in `engine`."""
    ok: bool | None
    """True: in order. None: a warning, jobs run all the same. False: failed."""
    message: str
    """What was seen."""
    remedy: str = ""
    """What to do about it; empty where nothing needs to be done."""
