"""Small things about requirements, and the files and tables that hold them."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ci_common.layout import read_capped

_MAX_BYTES = 1024 * 1024
_PYTEST = re.compile(r"pytest(?![A-Za-z0-9])", re.IGNORECASE)


def normal_name(name: str) -> str:
    """Return the name of a package, an extra or a group in its normal form (PEP 503, PEP 685)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_pytest(requirements: Iterable[str]) -> bool:
    """Tell whether one of the requirements is pytest or one of its plugins."""
    return any(_PYTEST.match(requirement.strip()) for requirement in requirements)


def strings(value: Any) -> list[str]:
    """Return the strings of a list; empty for what is none."""
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def table_at(value: Any, *path: str) -> dict[str, Any]:
    """Return a table within tables; empty where there is none."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def read_beginning(path: Path) -> bytes:
    """Return the beginning of a project's file; empty where there is none.

    Links are followed: none of an unpacked archive leads out of it, and no job has been at it yet.
    """
    return read_capped(Path(os.path.realpath(path)), _MAX_BYTES) or b""
