"""Dependency groups in pyproject.toml: those of the standard (PEP 735), and those of older tools."""

from collections.abc import Iterator, Mapping
from typing import Any

from ci_server.detection.declarations.poetry import poetry_requirements
from ci_server.detection.reading.requirements import MAX_REQUIREMENTS, is_identifier, normal_name, strings, table_at

_HATCH = {"hatch-test": "test", "test": "test", "tests": "test", "testing": "test", "default": "dev"}
"""Hatch's environments for tests and development."""
_MAX_DEPTH = 100


class GroupError(ValueError):
    """A dependency group is not valid by the standard, for example because it includes itself or a missing group."""


class Groups(Mapping[str, list[str]]):
    """The requirements of each group, by its normal name. Looking up a group that is not valid raises GroupError."""

    def __init__(self, document: Mapping[str, Any], hatch: Mapping[str, Any], own_name: str) -> None:
        """`hatch` is the table of Hatch's settings, `own_name` the project's name."""
        self._standard = {normal_name(key): value for key, value in table_at(document, "dependency-groups").items()}
        self._instead: dict[str, list[Any]] = {}
        self._beside: dict[str, list[Any]] = {}
        for name, entries in _of_older_tables(document):
            self._instead.setdefault(normal_name(name), []).extend(entries)
        if development := strings(table_at(document, "tool", "uv").get("dev-dependencies")):
            self._beside.setdefault("dev", []).extend(development)
        for name, entries in _of_hatch(table_at(hatch, "envs"), own_name):
            self._beside.setdefault(name, []).extend(entries)
        self._resolved: dict[str, list[str]] = {}
        poetry_groups = table_at(document, "tool", "poetry", "group")
        self.optional = {normal_name(n) for n in poetry_groups if table_at(poetry_groups, n).get("optional") is True}
        """The groups that Poetry installs only on demand."""

    def __getitem__(self, name: str) -> list[str]:
        if name not in self:
            raise KeyError(name)
        found = self._declared(name, ()) if name in self._standard or name in self._instead else []
        return list(dict.fromkeys([*found, *self._flat(name, self._beside.get(name))]))

    def __contains__(self, name: object) -> bool:
        return name in self._standard or name in self._instead or name in self._beside

    def __iter__(self) -> Iterator[str]:
        return iter({**self._standard, **self._instead, **self._beside})

    def __len__(self) -> int:
        return len({**self._standard, **self._instead, **self._beside})

    def _declared(self, name: str, including: tuple[str, ...]) -> list[str]:
        if name in self._resolved:
            return self._resolved[name]
        if name in including:
            raise GroupError(f"the dependency group {name!r} includes itself")
        if name not in self._standard and name not in self._instead:
            raise GroupError(f"the dependency group {including[-1]!r} includes {name!r}, which does not exist")
        if len(including) > _MAX_DEPTH:
            raise GroupError(f"dependency groups include others more than {_MAX_DEPTH} deep")
        self._resolved[name] = self._flat(name, self._standard.get(name, self._instead.get(name)), including)
        return self._resolved[name]

    def _flat(self, name: str, entries: Any, including: tuple[str, ...] = ()) -> list[str]:
        """Return the requirements of a group's entries and of the groups that it includes, each once."""
        found: dict[str, None] = {}
        included: set[str] = set()
        if not isinstance(entries, list | None):
            raise GroupError(f"the dependency group {name!r} is not a list")
        for entry in entries or ():
            if isinstance(entry, str):
                found[entry] = None
                continue
            other = _included(name, entry)
            if other not in included:
                included.add(other)
                found |= dict.fromkeys(self._declared(other, (*including, name)))
            if len(found) > MAX_REQUIREMENTS:
                break
        if len(found) > MAX_REQUIREMENTS:
            raise GroupError(f"the dependency group {name!r} has more than {MAX_REQUIREMENTS} requirements")
        return list(found)


def _included(name: str, entry: Any) -> str:
    other = entry.get("include-group") if isinstance(entry, dict) and len(entry) == 1 else None
    if not isinstance(other, str):
        raise GroupError(
            f"the dependency group {name!r} has an entry that is neither a requirement nor "
            'a group to include, as in {include-group = "other"}'
        )
    return normal_name(other)


def _of_older_tables(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    poetry_groups = table_at(document, "tool", "poetry", "group")
    tables = {name: table_at(poetry_groups, name, "dependencies") for name in poetry_groups}
    for name, table in [*tables.items(), ("dev", table_at(document, "tool", "poetry", "dev-dependencies"))]:
        included = strings(table_at(poetry_groups, name).get("include-groups"))
        if table or included:
            others = [{"include-group": other} for other in included]
            yield name, [*poetry_requirements(table), *others]
    for name, requirements in table_at(document, "tool", "pdm", "dev-dependencies").items():
        yield name, strings(requirements)
    if development := strings(table_at(document, "tool", "rye").get("dev-dependencies")):
        yield "dev", development


def _of_hatch(environments: Mapping[str, Any], own_name: str) -> Iterator[tuple[str, list[Any]]]:
    for name, group in _HATCH.items():
        own = table_at(environments, name)
        if not own:
            continue
        # An environment inherits settings from `default`, except for Hatch's built-in environments.
        template = str(own.get("template", name if name == "hatch-test" or own.get("detached") else "default"))
        settings = {**table_at(environments, template), **own}
        entries: list[Any] = strings(settings.get("dependencies")) + strings(settings.get("extra-dependencies"))
        features = [feature for feature in strings(settings.get("features")) if is_identifier(feature)]
        if features and own_name:
            entries.append(f"{own_name}[{','.join(features)}]")
        entries += [{"include-group": other} for other in strings(settings.get("dependency-groups"))]
        if entries:
            yield group, entries
