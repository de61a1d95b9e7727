"""What a Python project says about itself in pyproject.toml and setup.cfg."""

import configparser
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ci_common.errors import FieldError, InvalidRequest
from ci_common.layout import read_capped

TEST_GROUPS = ("test", "tests", "testing", "dev")
"""Names of extras and dependency groups that hold what tests need; the first that exists is taken."""

_MAX_BYTES = 1024 * 1024
_SELF_REFERENCE = re.compile(r"\s*([A-Za-z0-9._-]+)\s*\[([^\]]*)\]\s*")


class PythonProject:
    """The metadata of the project in one directory. What is missing or of a wrong form counts as not said."""

    def __init__(self, directory: Path) -> None:
        """Raises InvalidRequest where pyproject.toml is not TOML."""
        self._directory = directory
        self.document = _read_toml(directory)
        self.build_system = self.table("build-system") if "build-system" in self.document else None
        self.project = self.table("project") if "project" in self.document else None
        self.setup_text = "\n".join(self.text_of(name) for name in ("setup.py", "setup.cfg"))

    def has(self, name: str) -> bool:
        return (self._directory / name).is_file()

    def text_of(self, name: str) -> str:
        """Return the beginning of a file's text; empty where there is none."""
        return (read_capped(self._directory / name, _MAX_BYTES) or b"").decode(errors="replace")

    def table(self, *path: str) -> dict[str, Any]:
        """Return a table of pyproject.toml; empty where there is none."""
        value: Any = self.document
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    @property
    def is_installable(self) -> bool:
        """Whether pip can install the directory."""
        return self.has("setup.py") or self.build_system is not None

    def test_extra(self) -> str | None:
        """Return the extra that holds what tests need."""
        return _first_of(TEST_GROUPS, [*self.table("project", "optional-dependencies"), *self._setup_cfg_extras()])

    def dependencies(self, extra: str | None) -> list[str]:
        """Return the requirements of the project, and of one of its extras."""
        return _strings((self.project or {}).get("dependencies")) + (self._extra(extra, ()) if extra else [])

    def test_group(self) -> list[str]:
        """Return the requirements of the dependency group (PEP 735) that holds what tests need.

        Raises InvalidRequest where it includes a group that does not exist, or itself.
        """
        groups = self.table("dependency-groups")
        name = _first_of(TEST_GROUPS, groups)
        return [] if name is None else _resolved({_normal(key): value for key, value in groups.items()}, name, ())

    def _extra(self, name: str, seen: tuple[str, ...]) -> list[str]:
        extras = {
            _normal(key): _strings(value) for key, value in self.table("project", "optional-dependencies").items()
        }
        own_name = _normal(str((self.project or {}).get("name", "")))
        requirements: list[str] = []
        for requirement in extras.get(_normal(name), []) if _normal(name) not in seen else []:
            reference = _SELF_REFERENCE.fullmatch(requirement)
            if reference is None or _normal(reference[1]) != own_name:
                requirements.append(requirement)
                continue
            for other in reference[2].split(","):
                requirements += self._extra(other.strip(), (*seen, _normal(name)))
        return requirements

    def _setup_cfg_extras(self) -> list[str]:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(self.text_of("setup.cfg"))
            return parser.options("options.extras_require")
        except configparser.Error:
            return []


def _read_toml(directory: Path) -> dict[str, Any]:
    raw = read_capped(directory / "pyproject.toml", _MAX_BYTES)
    try:
        return tomllib.loads((raw or b"").decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise _invalid(str(exc)) from exc


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(f"pyproject.toml is not valid: {message}", FieldError("pyproject.toml", message))


def _strings(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _normal(name: str) -> str:
    """Return the name of a package, an extra or a group in its normal form (PEP 503, PEP 685)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _first_of(wanted: Iterable[str], given: Iterable[str]) -> str | None:
    present = {_normal(name) for name in given}
    return next((name for name in wanted if name in present), None)


def _resolved(groups: Mapping[str, Any], name: str, including: tuple[str, ...]) -> list[str]:
    if name in including:
        raise _invalid(f"the dependency group {name!r} includes itself")
    if name not in groups:
        raise _invalid(f"the dependency group {including[-1]!r} includes {name!r}, which does not exist")
    requirements: list[str] = []
    for entry in groups[name] if isinstance(groups[name], list) else []:
        if isinstance(entry, str):
            requirements.append(entry)
        elif isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            requirements += _resolved(groups, _normal(entry["include-group"]), (*including, name))
    return requirements
