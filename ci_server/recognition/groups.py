"""Groups of requirements that pyproject.toml names: the standard's (PEP 735), and those of tools from before it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ci_server.recognition.poetry import poetry_requirements
from ci_server.recognition.requirements import normal_name, strings, table_at

_HATCH = {"hatch-test": "test", "test": "test", "tests": "test", "testing": "test", "default": "dev"}
"""Hatch's environments that people test and develop in."""


class GroupError(ValueError):
    """A dependency group includes one that does not exist, or itself."""


class Groups(Mapping[str, list[str]]):
    """The requirements of each group, by its normal name. Looking one up raises GroupError where it is not sound."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._standard = {normal_name(key): value for key, value in table_at(document, "dependency-groups").items()}
        self._others: dict[str, list[str]] = {}
        for name, requirements in _of_tools(document):
            self._others.setdefault(normal_name(name), []).extend(requirements)

    def __getitem__(self, name: str) -> list[str]:
        return self._resolved(name, ()) if name in self._standard else self._others[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._standard, **self._others})

    def __len__(self) -> int:
        return len({**self._standard, **self._others})

    def _resolved(self, name: str, including: tuple[str, ...]) -> list[str]:
        if name in including:
            raise GroupError(f"the dependency group {name!r} includes itself")
        if name not in self._standard:
            raise GroupError(f"the dependency group {including[-1]!r} includes {name!r}, which does not exist")
        entries = self._standard[name] if isinstance(self._standard[name], list) else []
        requirements: list[str] = []
        for entry in entries:
            if isinstance(entry, str):
                requirements.append(entry)
            elif isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
                requirements += self._resolved(normal_name(entry["include-group"]), (*including, name))
        return requirements


def _of_tools(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    poetry_groups = table_at(document, "tool", "poetry", "group")
    for name in poetry_groups:
        yield name, poetry_requirements(table_at(poetry_groups, name, "dependencies"))
    if old := table_at(document, "tool", "poetry", "dev-dependencies"):
        yield "dev", poetry_requirements(old)
    for name, requirements in table_at(document, "tool", "pdm", "dev-dependencies").items():
        yield name, [requirement for requirement in strings(requirements) if not requirement.startswith("-e")]
    if development := strings(table_at(document, "tool", "uv").get("dev-dependencies")):
        yield "dev", development
    environments = table_at(document, "tool", "hatch", "envs")
    for name, group in _HATCH.items():
        environment = table_at(environments, name)
        if requirements := strings(environment.get("dependencies")) + strings(environment.get("extra-dependencies")):
            yield group, requirements
