"""What a family has at hand while it measures."""

import sys
from pathlib import Path
from typing import Protocol

from bench.frame.limits import MEASURING
from bench.frame.model import Figure, LeftOut, Limit, Results


class Lab:
    """One run of the benchmark, as the family that is measured at present sees it."""

    def __init__(self, directory: Path, *, image: str, quick: bool) -> None:
        self.directory = directory
        """A temporary one, removed after the run."""
        self.image = image
        """What jobs run in where nothing else is needed; has Python and a shell."""
        self.quick = quick
        self.results = Results()
        self._family = ""

    def begin(self, name: str, title: str) -> None:
        """Say which family is measured from here on."""
        self._family = name
        self.results.titles[name] = title
        self.results.notes[name] = []

    def put(self, figures: list[Figure]) -> None:
        """Take the figures of the present family."""
        self.results.figures[self._family] = figures

    def samples(self, full: int, quick: int) -> int:
        """Return how many samples to take."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Tell whoever waits for the run."""
        print(f"bench: {self._family}: {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Put a sentence into the report."""
        self.results.notes[self._family].append(text)

    def leave_out(self, what: str, why: str) -> None:
        """Say loudly, here and in the report, that something is not measured."""
        print(f"bench: {self._family}: LEFT OUT: {what}: {why}", file=sys.stderr, flush=True)
        self.note(f"**Left out: {what}**: {why}.")

    def limit(self, limit: Limit, key: str) -> str:
        """Take a limit that the family has measured itself; return its key, for `Figure.bounds`."""
        self.results.limits[key] = limit
        return key

    async def limits(self, *keys: str) -> tuple[str, ...]:
        """Measure those limits that this run has not yet; return the keys of those that can be, for `Figure.bounds`."""
        measured = []
        for key in keys:
            if key not in self.results.limits:
                try:
                    self.results.limits[key] = await MEASURING[key]()
                except LeftOut as exc:
                    self.leave_out(f"the limit `{key}`", str(exc))
                    continue
            measured.append(key)
        return tuple(measured)


class Family(Protocol):
    """A group of figures that are measured together, drawn in one plot, and can be run alone; a module is one."""

    NAME: str
    """The word for it on the command line, and the name of its plot's file."""
    TITLE: str
    """The heading of its section."""

    async def measure(self, lab: Lab) -> list[Figure]:
        """Measure, each series in turns with its reference; return the figures.

        What a reader has to know (settings, versions, what was left out) goes to `lab.note`, and limits that the
        figures name in `bounds` to `lab.limit`. Raises LeftOut where the family cannot be measured here.
        """
