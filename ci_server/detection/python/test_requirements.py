"""Collects the requirements of a project's tests from all files that may declare them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ci_server.detection.declarations.pytest_settings import plugins_of_options, required_plugins
from ci_server.detection.declarations.python_project import PYPROJECT, PythonProject
from ci_server.detection.declarations.runners import ToxEnvironment, read_nox, read_tox
from ci_server.detection.python.requirement_files import RequirementFiles
from ci_server.detection.reading.requirements import name_pytest, normal_name

_T = TypeVar("_T")
_NAME = re.compile(r"[^A-Za-z0-9._-]")
"""What ends the name of a requirement."""

TEST = ("test", "tests", "testing")
DEVELOPMENT = ("dev", "develop", "development")


@dataclass(slots=True)
class PipInputs:
    """What to give to pip beside the project itself."""

    files: list[tuple[str, str]] = field(default_factory=list)
    """The option, -r or -c, and the path."""
    extras: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    """Options of pip that name the indexes of tox or Nox."""
    requirements: list[tuple[str, str]] = field(default_factory=list)
    """Each requirement, with the file that declares it."""


def find_test_requirements(project: PythonProject, files: RequirementFiles) -> PipInputs:
    """Return what the project declares for its tests, or if it declares nothing, what it declares for development.

    Raises InvalidRequest if a dependency group that is used is not valid.
    """
    search = _Search(project)
    if not search.take_tests(files):
        search.take_development(files)
    search.take_plugins()
    needs = search.needs
    return PipInputs(_unique(needs.files), _unique(needs.extras), needs.indexes, _unique(needs.requirements))


class _Search:
    def __init__(self, project: PythonProject) -> None:
        self._project = project
        self._extras = project.extras.names
        self._groups = project.groups
        self.needs = PipInputs()

    def take_tests(self, files: RequirementFiles) -> bool:
        """Add what is named for tests, and what tox and Nox install. Return whether that includes pytest."""
        self._take(_first(TEST, self._extras), _first(TEST, self._groups), files.tests)
        found = list(self._environments())
        for environment in found:
            self._take_environment(environment)
        named = bool(self.needs.extras or self.needs.files or self.needs.requirements)
        single = [(environment.file, environment.requirements) for environment in found]
        for file, requirements in (*self._project.tests_require, *single):
            self.needs.requirements += [(requirement, file) for requirement in requirements]
        return named or name_pytest(requirement for requirement, _ in self.needs.requirements)

    def _environments(self) -> Iterator[ToxEnvironment]:
        text, table = self._project.files.text, self._project.table("tool", "tox")
        yield read_tox(text("tox.ini"), text("setup.cfg"), table, self._project.files.toml("tox.toml"))
        yield read_nox(text("noxfile.py"))

    def _take_environment(self, found: ToxEnvironment) -> None:
        self.needs.indexes += found.indexes
        self.needs.extras += [name for name in map(normal_name, found.extras) if name in self._extras]
        for name in map(normal_name, found.groups):
            self._take(None, name if name in self._groups else None, ())
        self.needs.files += [(option, path) for option, path in found.files if self._project.files.has(path)]

    def take_development(self, files: RequirementFiles) -> None:
        """Add what is named for development, or includes pytest."""
        extras = {name: partial(self._project.extras.requirements_of, name) for name in self._extras}
        asked = {name: group for name, group in self._groups.items() if name not in self._project.optional_groups}
        self._take(_for_development(extras), _for_development(asked), files.development)

    def take_plugins(self) -> None:
        """Add the plugins without which pytest refuses to run."""
        for file, plugins in required_plugins(self._project):
            self.needs.requirements += [(plugin, file) for plugin in plugins]
        for file, plugins in plugins_of_options(self._project):
            known = {normal_name(_NAME.split(requirement.strip(), maxsplit=1)[0]) for requirement in self._known()}
            self.needs.requirements += [(plugin, file) for plugin in plugins if plugin not in known]

    def _known(self) -> Iterator[str]:
        yield from (requirement for requirement, _ in self.needs.requirements)
        yield from (requirement for _, declared in self._project.dependencies for requirement in declared)
        for extra in self.needs.extras:
            yield from self._project.extras.requirements_of(extra)

    def _take(self, extra: str | None, group: str | None, files: Iterable[str]) -> None:
        self.needs.extras += [extra] if extra else []
        file = self._project.group_file(group) if group else PYPROJECT
        self.needs.requirements += [(text, file) for text in self._groups[group]()] if group else []
        self.needs.files += [("-r", path) for path in list(files)[:1]]


def _for_development(declared: Mapping[str, Callable[[], list[str]]]) -> str | None:
    """Return a name that includes pytest, preferably one for development; if there is none, one for development."""
    usual = [name for name in DEVELOPMENT if name in declared]
    others = [name for name in declared if name not in usual]
    return next((name for name in usual + others if name_pytest(declared[name]())), next(iter(usual), None))


def _first(wanted: Iterable[str], given: Iterable[str]) -> str | None:
    present = set(given)
    return next((name for name in wanted if name in present), None)


def _unique(names: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(names))
