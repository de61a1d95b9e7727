"""The extras of a project, from all files that can declare them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ci_server.detection.declarations.poetry import poetry_requirements
from ci_server.detection.declarations.setuptools_files import SETUP_CFG, SETUP_PY, SetupArguments, SetupCfg, read_files
from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import (
    MAX_REQUIREMENTS,
    at_most,
    invalid,
    is_identifier,
    normal_name,
    parse_requirement,
    setuptools_lines,
    strings,
    table_at,
    with_marker,
)

PYPROJECT = "pyproject.toml"
_MAX_STEPS = 20_000


@dataclass(frozen=True, slots=True)
class Extra:
    """The requirements of an extra, as far as they can be read, and the file that declares them."""

    file: str
    requirements: list[str]


def read_extras(
    document: Mapping[str, Any], files: ProjectFiles, setup_cfg: SetupCfg, setup_py: SetupArguments
) -> dict[str, Extra]:
    """Return the extras by their normal names. Raises InvalidRequest if a file that declares one is not valid."""
    declared = [
        *((name, Extra(SETUP_CFG, setup_cfg.requirements_of(name))) for name in setup_cfg.extra_names),
        *((name, Extra(SETUP_PY, setuptools_lines(lines))) for name, lines in setup_py.extras.items()),
        *((name, Extra(PYPROJECT, lines)) for name, lines in _of_pyproject(document, files)),
    ]
    found: dict[str, Extra] = {}
    for name, extra in declared:
        # setuptools accepts `name:marker` for requirements of an extra under a condition.
        plain, _, marker = name.partition(":")
        if is_identifier(plain):
            extra = Extra(extra.file, _conditional(extra, marker)) if marker else extra
            before = found.get(normal_name(plain)) if marker else None
            together = [*(before.requirements if before else ()), *extra.requirements]
            found[normal_name(plain)] = Extra(extra.file, at_most(together, extra.file))
    return found


def dynamic_dependencies(document: Mapping[str, Any], files: ProjectFiles) -> list[str]:
    """Return the project's requirements in files that pyproject.toml names."""
    table = table_at(document, "tool", "setuptools", "dynamic", "dependencies")
    hook = table_at(document, "tool", "hatch", "metadata", "hooks", "requirements_txt")
    return _of_files(files, table.get("file")) + _of_files(files, hook.get("files"))


class OwnExtras:
    """Replaces references of a project to itself, as in `thing[test]`, by the requirements of its extras."""

    def __init__(self, own_name: str, extras: Mapping[str, Extra]) -> None:
        self._own_name = normal_name(own_name)
        self._extras = extras

    @property
    def names(self) -> list[str]:
        """The normal names of the extras."""
        return list(self._extras)

    def is_own(self, name: str) -> bool:
        return bool(self._own_name) and normal_name(name) == self._own_name

    def requirements_of(self, extra: str) -> list[str]:
        """Return the requirements of an extra, including those of the project's other extras that it names."""
        return self._expanded((), [extra])

    def without_own(self, requirements: Iterable[str], file: str) -> list[str]:
        """Return the requirements, with references to the project itself replaced."""
        return self._expanded([(text, file, "") for text in requirements], ())

    def _expanded(self, waiting: Iterable[tuple[str, str, str]], extras: Iterable[str]) -> list[str]:
        found: dict[str, None] = {}
        seen: set[tuple[str, str]] = set()
        stack = [*reversed([*waiting, *self._entered(extras, "", seen)])]
        steps = 0
        while stack:
            text, file, marker = stack.pop()
            text = " ".join(text.split())
            requirement = parse_requirement(text, file)
            steps += 1
            if steps > _MAX_STEPS or len(found) > MAX_REQUIREMENTS:
                raise invalid(file, f"its extras name more than {MAX_REQUIREMENTS} requirements together")
            if not self.is_own(requirement.name):
                found[with_marker(text, requirement, marker)] = None
                continue
            both = [condition for condition in (marker, str(requirement.marker or "")) if condition]
            joined = f"({both[0]}) and ({both[1]})" if len(set(both)) == 2 else "".join(both[:1])
            stack += reversed(list(self._entered(sorted(requirement.extras), joined, seen)))
        return list(found)

    def _entered(
        self, extras: Iterable[str], marker: str, seen: set[tuple[str, str]]
    ) -> Iterator[tuple[str, str, str]]:
        for extra in map(normal_name, extras):
            if (extra, marker) not in seen and extra in self._extras:
                seen.add((extra, marker))
                declared = self._extras[extra]
                yield from ((text, declared.file, marker) for text in declared.requirements)


def _of_pyproject(document: Mapping[str, Any], files: ProjectFiles) -> Iterator[tuple[str, list[str]]]:
    flit = table_at(document, "tool", "flit", "metadata")
    yield from _lists(table_at(flit, "requires-extra"))
    if development := strings(flit.get("dev-requires")):
        yield "dev", development
    poetry = table_at(document, "tool", "poetry")
    for name, wanted in _lists(table_at(poetry, "extras")):
        names = {normal_name(entry) for entry in wanted}
        declared = table_at(poetry, "dependencies")
        found = poetry_requirements(declared, names)
        known = {normal_name(entry) for entry in declared}
        yield name, found + [entry for entry in wanted if normal_name(entry) not in known]
    setuptools = table_at(document, "tool", "setuptools", "dynamic", "optional-dependencies")
    for name in setuptools:
        yield name, _of_files(files, table_at(setuptools, name).get("file"))
    hook = table_at(document, "tool", "hatch", "metadata", "hooks", "requirements_txt", "optional-dependencies")
    for name, paths in hook.items():
        yield name, _of_files(files, paths)
    yield from _lists(table_at(document, "project", "optional-dependencies"))


def _of_files(files: ProjectFiles, paths: Any) -> list[str]:
    named = [paths] if isinstance(paths, str) else strings(paths)
    return setuptools_lines(read_files(files, named, PYPROJECT))


def _lists(table: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, value in table.items():
        yield name, strings(value)


def _conditional(extra: Extra, marker: str) -> list[str]:
    return [with_marker(text, parse_requirement(text, extra.file), marker) for text in extra.requirements]
