"""The outcome of a run: a table for people, JSON for programs."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_client.formatting import columns, span
from ci_common.parsing.text import shown_size
from ci_selftest.jobs.evidence import Promise, Violation


@dataclass
class Outcome:
    """What a run did and found."""

    seed: int
    runtime: str
    image: str
    seconds: float = 0.0
    """The duration of the run."""
    replay: str = ""
    """The command that repeats it."""
    jobs: Counter[str] = field(default_factory=Counter)
    """By conclusion."""
    prepared: int = 0
    """Jobs that started from a prepared environment."""
    served: int = 0
    """Jobs that asked for a service."""
    refused: int = 0
    """Submissions that were refused, or that reached no server."""
    uncertain: Counter[str] = field(default_factory=Counter)
    """Submissions whose connection broke before the answer, counted as `accepted` or `not accepted`."""
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    """Faults that found no target."""
    readers: int = 0
    connections: int = 0
    written: int = 0
    """Bytes of all logs."""
    read: int = 0
    """Bytes that all readers received."""
    violations: list[Violation] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """Problems that break no promise: parts that exited by themselves and were restarted."""
    kept: Path | None = None
    """The directory with database, data and logs, which is kept if a promise was broken."""

    def broken(self) -> Counter[Promise]:
        """Return how often each promise was broken."""
        found = Counter(violation.promise for violation in self.violations)
        return Counter({promise: found[promise] for promise in Promise})

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return vars(self) | {
            "seconds": round(self.seconds, 1),
            "broken": {str(promise): number for promise, number in self.broken().items()},
            "violations": [
                {"promise": str(v.promise), "subject": v.subject, "detail": v.detail} for v in self.violations
            ],
            "kept": None if self.kept is None else str(self.kept),
        }

    def table(self) -> str:
        """Return the table and the findings as text."""
        rows = [
            ("run", f"seed {self.seed}, {self.runtime}, {span(self.seconds)}"),
            ("jobs", f"{self.jobs.total()}: {_listed(self.jobs)}"),
            ("  prepared", str(self.prepared)),
            ("  with a service", str(self.served)),
            ("submissions refused", str(self.refused)),
            ("submissions cut", f"{self.uncertain.total()}: {_listed(self.uncertain)}"),
            ("bytes", f"{shown_size(self.written)} written, {shown_size(self.read)} read by {self.readers} readers"),
            ("connections", str(self.connections)),
            ("faults", str(self.faults.total())),
            *((f"  {fault}", str(number)) for fault, number in self.faults.items()),
            *((f"  {fault}: nothing to hit", str(number)) for fault, number in self.missed.items()),
            ("", ""),
            ("promise broken", ""),
            *((f"  {promise}", str(number)) for promise, number in self.broken().items()),
        ]
        lines = [columns(rows)]
        lines += [f"\n{v.promise}: {v.subject}\n    {v.detail}" for v in self.violations]
        lines += [f"\nnote: {trouble}" for trouble in self.troubles]
        if self.kept is not None:
            lines.append(f"\nDatabase, data and the logs of the parts are kept in {self.kept}")
            lines.append(f"Repeat the same schedule with: {self.replay}")
        return "\n".join(lines)


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items())) or "none"
