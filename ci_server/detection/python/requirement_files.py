"""Finds requirement files by the words in their names, because projects name and place them differently."""

import re
from dataclasses import dataclass, field
from pathlib import Path

_PLACES = (".", "requirements", "reqs", "tests", "test", "testing")
_SUFFIXES = (".txt", ".in", ".pip")
_REQUIREMENTS = frozenset({"requirements", "requirement", "reqs", "req", "pip"})
_RUNTIME = ("", "main", "base", "common", "default", "prod", "production")
_TEST = ("test", "tests", "testing", "unittest", "unittests", "pytest", "ci")
_DEV = ("dev", "develop", "development", "local")


@dataclass(slots=True)
class RequirementFiles:
    """Paths relative to the project, with the most common names first."""

    runtime: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    development: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.runtime or self.tests or self.development)


def find_requirement_files(directory: Path) -> RequirementFiles:
    """Return the requirement files in the usual places."""
    found = [
        (suffix_rank, *meaning, path.relative_to(directory).as_posix())
        for place in _PLACES
        for suffix_rank, suffix in enumerate(_SUFFIXES)
        for path in sorted((directory / place).glob(f"*{suffix}"))
        if path.is_file() and (meaning := _meaning(path, place)) is not None
    ]
    found.sort(key=lambda entry: entry[:3])
    return RequirementFiles(*([path for _, kind, _, path in found if kind == wanted] for wanted in range(3)))


def _meaning(path: Path, place: str) -> tuple[int, int] | None:
    """Return 0, 1 or 2 for run time, tests or development, and the rank of the name for that purpose."""
    words = [word for word in re.split(r"[-_.]+", path.stem.lower()) if word]
    rest = " ".join(word for word in words if word not in _REQUIREMENTS)
    if len(rest.split()) == len(words) and place not in ("requirements", "reqs"):
        return None
    if place in ("tests", "test", "testing") and rest in ("", *_RUNTIME):
        return 1, 0
    for kind, names in enumerate((_RUNTIME, _TEST, _DEV)):
        if rest in names:
            return kind, names.index(rest)
    return None
