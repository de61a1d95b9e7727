"""What a Python project says about itself in pyproject.toml, setup.cfg, setup.py and Pipfile."""

import configparser
import re
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ci_common.errors import FieldError, InvalidRequest
from ci_server.recognition.groups import GroupError, Groups
from ci_server.recognition.poetry import poetry_requirements
from ci_server.recognition.requirements import normal_name, read_beginning, strings, table_at
from ci_server.recognition.setup_py import read_setup_py

_SELF_REFERENCE = re.compile(r"\s*([A-Za-z0-9._-]+)\s*\[([^\]]*)\]\s*")


class PythonProject:
    """The metadata of the project in one directory. What is missing or of a wrong form counts as not said."""

    def __init__(self, directory: Path) -> None:
        """Raises InvalidRequest where pyproject.toml is not TOML."""
        self.directory = directory
        self.document = self._toml("pyproject.toml")
        self.build_system = self.table("build-system") if "build-system" in self.document else None
        self.project = self.table("project") if "project" in self.document else None
        self.setup_text = "\n".join(self.text_of(name) for name in ("setup.py", "setup.cfg"))
        self._setup_cfg = configparser.RawConfigParser(strict=False)
        try:
            self._setup_cfg.read_string(self.text_of("setup.cfg"))
        except configparser.Error:
            self._setup_cfg = configparser.RawConfigParser()
        self._setup_py = read_setup_py(self.text_of("setup.py"))
        self._pipfile = self._toml("Pipfile") if self.has("Pipfile") else {}

    def has(self, name: str) -> bool:
        return (self.directory / name).is_file()

    def text_of(self, name: str) -> str:
        """Return the beginning of a file's text; empty where there is none."""
        return read_beginning(self.directory / name).decode(errors="replace")

    def table(self, *path: str) -> dict[str, Any]:
        """Return a table of pyproject.toml; empty where there is none."""
        return table_at(self.document, *path)

    @property
    def is_installable(self) -> bool:
        """Whether pip can install the directory, and the project means it to be."""
        if (
            self.table("tool", "poetry").get("package-mode") is False
            or self.table("tool", "uv").get("package") is False
        ):
            return False
        if self.has("setup.py") or self.build_system is not None or self.table("tool", "uv").get("package") is True:
            return True
        return self.has("pyproject.toml") and self._setup_cfg.has_option("metadata", "name")

    @property
    def extras(self) -> dict[str, list[str]]:
        """The extras by their normal names, with their requirements as far as they can be read."""
        declared = [
            {name: _lines(text) for name, text in self._setup_cfg_section("options.extras_require").items()},
            self._setup_py.extras,
            self.table("tool", "poetry", "extras"),
            self.table("project", "optional-dependencies"),
        ]
        return {normal_name(name): strings(value) for extras in declared for name, value in extras.items()}

    @property
    def groups(self) -> dict[str, Callable[[], list[str]]]:
        """What gives the requirements of each dependency group, raising InvalidRequest where it is not sound."""
        groups = Groups(self.document)
        found: dict[str, Callable[[], list[str]]] = {name: partial(_sound, groups, name) for name in groups}
        if development := table_at(self._pipfile, "dev-packages"):
            found.setdefault("dev", partial(poetry_requirements, development))
        return found

    @property
    def tests_require(self) -> list[str]:
        """What setuptools once installed for `setup.py test`."""
        return _lines(self._setup_cfg_section("options").get("tests_require", "")) + self._setup_py.tests_require

    def dependencies(self) -> list[str]:
        """Return the requirements of a project that is not installed itself."""
        return (
            strings((self.project or {}).get("dependencies"))
            + poetry_requirements(self.table("tool", "poetry", "dependencies"))
            + _lines(self._setup_cfg_section("options").get("install_requires", ""))
            + poetry_requirements(table_at(self._pipfile, "packages"))
        )

    def requirements_of(self, extra: str) -> list[str]:
        """Return the requirements of an extra, and of those of the project's own that it names."""
        return self._requirements_of(extra, ())

    def _requirements_of(self, extra: str, seen: tuple[str, ...]) -> list[str]:
        own_name = normal_name(str((self.project or {}).get("name", "")))
        requirements: list[str] = []
        for requirement in self.extras.get(normal_name(extra), []) if normal_name(extra) not in seen else []:
            reference = _SELF_REFERENCE.fullmatch(requirement)
            if reference is None or normal_name(reference[1]) != own_name:
                requirements.append(requirement)
                continue
            for other in reference[2].split(","):
                requirements += self._requirements_of(other.strip(), (*seen, normal_name(extra)))
        return requirements

    def _setup_cfg_section(self, name: str) -> dict[str, str]:
        return dict(self._setup_cfg[name]) if self._setup_cfg.has_section(name) else {}

    def _toml(self, name: str) -> dict[str, Any]:
        try:
            return tomllib.loads(read_beginning(self.directory / name).decode("utf-8-sig"))
        except (ValueError, RecursionError) as exc:
            raise _invalid(str(exc), name) from exc


def _sound(groups: Groups, name: str) -> list[str]:
    try:
        return groups[name]
    except GroupError as exc:
        raise _invalid(str(exc)) from exc


def _invalid(message: str, name: str = "pyproject.toml") -> InvalidRequest:
    return InvalidRequest(f"{name} is not valid: {message}", FieldError(name, message))


def _lines(text: str) -> list[str]:
    """Return setuptools' way to write a list; a semicolon separates only where no marker may follow it."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
