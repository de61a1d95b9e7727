"""What a project's tests need, put together from all the places where projects say so."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ci_server.recognition.pyproject import PythonProject
from ci_server.recognition.requirement_files import RequirementFiles
from ci_server.recognition.requirements import name_pytest, normal_name
from ci_server.recognition.tox_ini import read_tox

TEST = ("test", "tests", "testing")
DEVELOPMENT = ("dev", "develop", "development")


@dataclass(slots=True)
class Needs:
    """What to hand to pip beside the project itself."""

    files: list[tuple[str, str]] = field(default_factory=list)
    """Pip's option, -r or -c, and the path."""
    extras: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)


def find_needs(project: PythonProject, files: RequirementFiles) -> Needs:
    """Return what the project declares for its tests; only where it declares nothing, what it does for development.

    Raises InvalidRequest where a dependency group that is taken is not sound.
    """
    search = _Search(project)
    if not search.take_tests(files):
        search.take_development(files)
    needs = search.needs
    return Needs(list(dict.fromkeys(needs.files)), _unique(needs.extras), _unique(needs.requirements))


class _Search:
    def __init__(self, project: PythonProject) -> None:
        self._project = project
        self._extras = project.extras
        self._groups = project.groups
        self.needs = Needs()

    def take_tests(self, files: RequirementFiles) -> bool:
        """Take what is named for tests, and what tox installs. Return whether that says where pytest comes from."""
        self._take(_first(TEST, self._extras), _first(TEST, self._groups), files.tests)
        tox = read_tox(
            self._project.text_of("tox.ini"), self._project.text_of("setup.cfg"), self._project.table("tool", "tox")
        )
        self.needs.extras += [name for name in map(normal_name, tox.extras) if name in self._extras]
        for name in map(normal_name, tox.groups):
            self._take(None, name if name in self._groups else None, ())
        self.needs.files += [(option, path) for option, path in tox.files if self._project.has(path)]
        named = bool(self.needs.extras or self.needs.files or self.needs.requirements)
        self.needs.requirements += self._project.tests_require + tox.requirements
        return named or name_pytest(self.needs.requirements)

    def take_development(self, files: RequirementFiles) -> None:
        extras = {name: partial(self._project.requirements_of, name) for name in self._extras}
        self._take(_for_development(extras), _for_development(self._groups), files.development)

    def _take(self, extra: str | None, group: str | None, files: Iterable[str]) -> None:
        self.needs.extras += [extra] if extra else []
        self.needs.requirements += self._groups[group]() if group else []
        self.needs.files += [("-r", path) for path in list(files)[:1]]


def _for_development(declared: Mapping[str, Callable[[], list[str]]]) -> str | None:
    """Return the name of what has pytest in it, those meant for development first; else that meant for development."""
    usual = [name for name in DEVELOPMENT if name in declared]
    others = [name for name in declared if name not in usual]
    return next((name for name in usual + others if name_pytest(declared[name]())), next(iter(usual), None))


def _first(wanted: Iterable[str], given: Iterable[str]) -> str | None:
    present = set(given)
    return next((name for name in wanted if name in present), None)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
