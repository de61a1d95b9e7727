"""A secret as it is stored: a value that the key ring has sealed, or where the value is kept elsewhere."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

NAME_PATTERN: Final = "[A-Za-z_][A-Za-z0-9_]{0,99}"
TABLE: Final = "secrets"
RING_FILE: Final = "secrets.keys"
"""The name of the key ring, where no setting names another file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """One secret of an installation: exactly one of `sealed` and `reference`."""

    project: str | None
    """Whose jobs get it; None for the jobs of all projects, and of none."""
    name: str
    sealed: str | None = None
    """Its value, as `KeyRing.seal` returns it for `place_of` this secret."""
    reference: str | None = None
    """Where its value is: `env:NAME`, `file:/path` or `vault:path#field`."""
    is_masked: bool = True
    """Whether it is masked in what jobs show."""
    created_time: datetime
    created_by: str
    """The name of the identity that made it."""
    changed_time: datetime
    changed_by: str


def place_of(project: str | None, name: str) -> tuple[str, ...]:
    """Return the table, row and field of a secret's value, to which its ciphertext is bound."""
    return TABLE, "project" if project is not None else "installation", project or "", name, "sealed"
