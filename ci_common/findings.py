"""The findings of `ci doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    """What was checked, in a word or two, as in `engine`."""
    ok: bool | None
    """True: passed. None: a warning, but jobs run. False: failed."""
    message: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty if nothing needs to be done."""
