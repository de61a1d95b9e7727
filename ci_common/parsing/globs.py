"""Patterns for paths, matched one name at a time, so that a walk enters only directories that can hold a match."""

import re
from fnmatch import translate
from functools import lru_cache

from ci_common.parsing.text import shown

LONGEST_PATTERN = 1000
_MOST_PARTS = 50
_ANY_FOLDERS = "**"

States = frozenset[int]
"""How far a pattern has come along a path: the numbers of the parts that may match the next name."""
NOWHERE: States = frozenset()
"""No path that continues like this matches."""


class Glob:
    """A pattern for paths with `/` between names: `*`, `?` and `[a-z]` within a name, `**` for any number of folders.

    A pattern that matches a directory matches all that is in it.
    """

    def __init__(self, pattern: str) -> None:
        """Raises ValueError, which says what would be right."""
        self.pattern = pattern
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if pattern.startswith("/"):
            raise ValueError(f"{shown(pattern)} is absolute; write it relative to the project's directory")
        if ".." in parts:
            raise ValueError(f"{shown(pattern)} has .. in it; only what is below the project's directory is taken")
        if not pattern or len(pattern) > LONGEST_PATTERN or len(parts) > _MOST_PARTS:
            raise ValueError(
                f"{shown(pattern)} is not a pattern; write one as in dist/*.whl or reports/**, of at most "
                f"{LONGEST_PATTERN} characters and {_MOST_PARTS} folders"
            )
        if any(_ANY_FOLDERS in part and part != _ANY_FOLDERS for part in parts):
            raise ValueError(f"{shown(pattern)} is not a pattern; ** stands alone between slashes, as in src/**/*.log")
        self._parts = [None if part == _ANY_FOLDERS else _name(part) for part in parts]
        self.start = self._closed({0})

    def step(self, states: States, name: str) -> States:
        """Return how far the pattern has come behind `name`, the next name of a path."""
        onward: set[int] = set()
        for state in states:
            if state == len(self._parts):
                onward.add(state)  # It has matched a directory above.
            elif (part := self._parts[state]) is None:
                onward.add(state)
            elif part.match(name):
                onward.add(state + 1)
        return self._closed(onward) if onward else NOWHERE

    def _closed(self, states: set[int]) -> States:
        for state in sorted(states):
            following = state
            while following < len(self._parts) and self._parts[following] is None:
                following += 1
                states.add(following)
        return frozenset(states)

    def is_match(self, states: States) -> bool:
        """Return whether the path so far matches."""
        return len(self._parts) in states

    def matches(self, path: str) -> bool:
        """Return whether a whole path matches."""
        states = self.start
        for name in path.split("/"):
            states = self.step(states, name)
        return self.is_match(states)


@lru_cache(1000)
def _name(part: str) -> re.Pattern[str]:
    return re.compile(translate(part))
