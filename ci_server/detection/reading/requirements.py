"""Requirements in the standard's form (PEP 508), and the tables and lists that contain them."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from ci_common.errors import FieldError, InvalidRequest

MAX_REQUIREMENTS = 1000
"""The most requirements in one place of a project, and in all arguments of pip."""
_MAX_CHARACTERS = 1000
_PYTEST = re.compile(r"pytest(?![A-Za-z0-9])", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def invalid(file: str, message: str) -> InvalidRequest:
    """Return the error for a file of the project that is not valid."""
    return InvalidRequest(f"{file} is not valid: {message}", FieldError(file, message))


def unusable(file: str, message: str) -> InvalidRequest:
    """Return the error for a valid file of the project that asks for something that pip cannot do here."""
    message += "; write `steps` in ci.yaml that install what the tests need"
    return InvalidRequest(f"{file} cannot be used: {message}", FieldError(file, message))


def parse_requirement(text: str, file: str) -> Requirement:
    """Return a requirement in `file`. Raises InvalidRequest if it is not in the standard's form."""
    parsed = _parsed(" ".join(text.split()))
    if isinstance(parsed, str):
        shown = text if len(text) <= 100 else f"{text[:100]}…"
        raise invalid(file, f"{shown!r} is not a requirement, as in 'pytest>=8': {parsed}")
    return parsed


@lru_cache(4096)
def _parsed(text: str) -> Requirement | str:
    if len(text) > _MAX_CHARACTERS:
        return f"it is longer than {_MAX_CHARACTERS} characters"
    if not text.isprintable():
        return "it has characters that cannot be printed"
    try:
        return Requirement(text)
    except InvalidRequirement as exc:
        return str(exc).partition("\n")[0]
    except (ValueError, RecursionError) as exc:
        return " ".join(str(exc).split())


def with_marker(text: str, requirement: Requirement, marker: str) -> str:
    """Return the text of `requirement` with a further condition, or unchanged if `marker` is empty."""
    if not marker:
        return text
    own = f"({requirement.marker}) and ({marker})" if requirement.marker else marker
    plain = Requirement(str(requirement))
    plain.marker = None
    return f"{plain} ; {own}"


def at_most(requirements: Iterable[str], file: str) -> list[str]:
    """Return the requirements, each once. Raises InvalidRequest if there are too many."""
    found: dict[str, None] = {}
    for requirement in requirements:
        found[requirement] = None
        if len(found) > MAX_REQUIREMENTS:
            raise invalid(file, f"it names more than {MAX_REQUIREMENTS} requirements together")
    return list(found)


def normal_name(name: str) -> str:
    """Return the name of a package, an extra or a group in its normal form (PEP 503, PEP 685)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_identifier(name: object) -> bool:
    """Return whether this can be the name of a package, an extra or a group."""
    return isinstance(name, str) and len(name) <= _MAX_CHARACTERS and _IDENTIFIER.fullmatch(name) is not None


def name_pytest(requirements: Iterable[str]) -> bool:
    """Return whether one of the requirements is pytest or a plugin of it."""
    return any(_PYTEST.match(requirement.strip()) for requirement in requirements)


def setuptools_lines(value: str | Iterable[str], separator: str = "\n") -> list[str]:
    """Return the requirements in a text or list as setuptools reads them.

    There is one per line, or between separators in a single line. Comments are removed, and lines that end in a
    backslash are continued.
    """
    if isinstance(value, str):
        value = value.splitlines() if "\n" in value else value.split(separator)
    stripped = (line.strip() for text in value for line in text.splitlines())
    return list(_continued(line.partition(" #")[0].strip() for line in stripped if line and not line.startswith("#")))


def _continued(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        whole = line
        while whole.endswith("\\"):
            following = next(lines, None)
            if following is None:  # setuptools ignores a line that is to be continued but is the last one.
                return
            whole = whole[:-2].strip() + following
        if whole:
            yield whole


def strings(value: Any) -> list[str]:
    """Return the strings in a list; empty if `value` is not a list."""
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def table_at(value: Any, *path: str) -> dict[str, Any]:
    """Return a nested table; empty if there is none."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
