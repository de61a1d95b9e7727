"""A setting with one limit for all, and others for some by name: `30d,nightly=7d,release=forever`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Limit(Generic[T]):
    """A limit. None is no limit."""

    text: str
    """The text of the setting."""
    general: T | None
    projects: Mapping[str, T | None] = field(default_factory=lambda: MappingProxyType({}))
    """The limits of projects, or of owners, that have their own."""

    def of(self, project: str | None) -> T | None:
        """Return the limit of a project, or for what belongs to none."""
        return self.general if project is None else self.projects.get(project, self.general)

    def with_others(self, projects: Mapping[str, T | None]) -> "Limit[T]":
        """Return this limit with other ones for some projects."""
        return Limit(self.text, self.general, MappingProxyType({**self.projects, **projects}))

    def __str__(self) -> str:
        return self.text


def parse_limit(value: object, parse_one: Callable[[str], T | None]) -> Limit[T]:
    """Return the limit that a text says; `parse_one` reads one number of it. Raises ValueError."""
    if isinstance(value, Limit):
        return value
    text = str(value).strip()
    general, *rest = text.split(",")
    projects: dict[str, T | None] = {}
    for entry in rest:
        name, equals, limit = entry.rpartition("=")
        if not equals or not name.strip():
            raise ValueError(f"{entry.strip()!r} is not PROJECT=LIMIT; the first entry is for all projects")
        if name.strip() in projects:
            raise ValueError(f"the project {name.strip()!r} is named twice")
        projects[name.strip()] = parse_one(limit.strip())
    return Limit(text, parse_one(general.strip()), MappingProxyType(projects))
