"""What a family uses while it measures."""

import sys
from pathlib import Path
from typing import Protocol

from bench.frame.limits import MEASURING
from bench.frame.model import Figure, LeftOut, Limit, Results


class Lab:
    """One run of the benchmark, for the family that is being measured."""

    def __init__(self, directory: Path, *, image: str, quick: bool) -> None:
        self.directory = directory
        """A temporary one, removed after the run."""
        self.image = image
        """The image of jobs that need no other; it has Python and a shell."""
        self.quick = quick
        self.results = Results()
        self._family = ""

    def begin(self, name: str, title: str) -> None:
        """Begin to measure a family."""
        self._family = name
        self.results.titles[name] = title
        self.results.notes[name] = []

    def put(self, figures: list[Figure]) -> None:
        """Store the figures of the current family."""
        self.results.figures[self._family] = figures

    def samples(self, full: int, quick: int) -> int:
        """Return the number of samples to take."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Print a progress message."""
        print(f"bench: {self._family}: {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Add a sentence to the report."""
        self.results.notes[self._family].append(text)

    def leave_out(self, what: str, why: str) -> None:
        """Report, here and in the report, that something is not measured."""
        print(f"bench: {self._family}: LEFT OUT: {what}: {why}", file=sys.stderr, flush=True)
        self.note(f"**Left out: {what}**: {why}.")

    def limit(self, limit: Limit, key: str) -> str:
        """Store a limit that the family measured itself; return its key, for `Figure.bounds`."""
        self.results.limits[key] = limit
        return key

    async def limits(self, *keys: str) -> tuple[str, ...]:
        """Measure limits that are not measured yet; return the keys of those that exist, for `Figure.bounds`."""
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
    """Its name on the command line, and the name of its plot's file."""
    TITLE: str
    """The heading of its section."""

    async def measure(self, lab: Lab) -> list[Figure]:
        """Measure, each series in turns with its reference; return the figures.

        Call `lab.note` with what a reader must know (settings, versions, what was left out), and `lab.limit` with
        limits that the figures name in `bounds`. Raises LeftOut if the family cannot be measured here.
        """
