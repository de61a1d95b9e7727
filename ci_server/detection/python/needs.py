"""What a project's tests need, put together from all the places where projects say so."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ci_server.detection.declarations.nox import read_nox
from ci_server.detection.declarations.pyproject import PYPROJECT, PythonProject
from ci_server.detection.declarations.pytest_config import required_plugins
from ci_server.detection.declarations.tox_ini import ToxEnvironment, read_tox
from ci_server.detection.python.requirement_files import RequirementFiles
from ci_server.detection.reading.requirements import name_pytest, normal_name

_T = TypeVar("_T")

TEST = ("test", "tests", "testing")
DEVELOPMENT = ("dev", "develop", "development")


@dataclass(slots=True)
class Needs:
    """What to hand to pip beside the project itself."""

    files: list[tuple[str, str]] = field(default_factory=list)
    """Pip's option, -r or -c, and the path."""
    extras: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    """Pip's options for the indexes that tox or Nox asks."""
    requirements: list[tuple[str, str]] = field(default_factory=list)
    """Each requirement, and the file that declares it."""


def find_needs(project: PythonProject, files: RequirementFiles) -> Needs:
    """Return what the project declares for its tests; only where it declares nothing, what it does for development.

    Raises InvalidRequest where a dependency group that is taken is not sound.
    """
    search = _Search(project)
    if not search.take_tests(files):
        search.take_development(files)
    search.take_plugins()
    needs = search.needs
    return Needs(_unique(needs.files), _unique(needs.extras), needs.indexes, _unique(needs.requirements))


class _Search:
    def __init__(self, project: PythonProject) -> None:
        self._project = project
        self._extras = project.extras.names
        self._groups = project.groups
        self.needs = Needs()

    def take_tests(self, files: RequirementFiles) -> bool:
        """Take what is named for tests, or tox and Nox install. Return whether that says where pytest comes from."""
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
        """Take what is named for development, or has pytest in it."""
        extras = {name: partial(self._project.extras.requirements_of, name) for name in self._extras}
        asked = {name: group for name, group in self._groups.items() if name not in self._project.optional_groups}
        self._take(_for_development(extras), _for_development(asked), files.development)

    def take_plugins(self) -> None:
        """Take the plugins without which pytest refuses to run."""
        for file, plugins in required_plugins(self._project):
            self.needs.requirements += [(plugin, file) for plugin in plugins]

    def _take(self, extra: str | None, group: str | None, files: Iterable[str]) -> None:
        self.needs.extras += [extra] if extra else []
        file = self._project.group_file(group) if group else PYPROJECT
        self.needs.requirements += [(text, file) for text in self._groups[group]()] if group else []
        self.needs.files += [("-r", path) for path in list(files)[:1]]


def _for_development(declared: Mapping[str, Callable[[], list[str]]]) -> str | None:
    """Return the name of what has pytest in it, those meant for development first; else that meant for development."""
    usual = [name for name in DEVELOPMENT if name in declared]
    others = [name for name in declared if name not in usual]
    return next((name for name in usual + others if name_pytest(declared[name]())), next(iter(usual), None))


def _first(wanted: Iterable[str], given: Iterable[str]) -> str | None:
    present = set(given)
    return next((name for name in wanted if name in present), None)


def _unique(names: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(names))
