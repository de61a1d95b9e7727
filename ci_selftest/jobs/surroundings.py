"""What some jobs have besides their steps: a setup that several of them share, and a service."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from ci_selftest.jobs.output import MADE

KEYS = 2
"""How many setups of one kind differ from each other. Jobs with the same one share a prepared environment."""
INPUT = "selftest-input"
"""The file that setups read, in jobs that come with files."""
FAILING = 7
"""The exit code of setups that fail."""
_SLOW_SECONDS = 3
_HIT = re.compile(rb"ci: starts from the prepared environment [0-9a-f]+, made [^\n]*\n")
_NOT_KEPT = b"ci: no environment is kept of this setup: "


class SetupWay(StrEnum):
    """What a setup does."""

    QUICK = "quick"
    SLOW = "slow"
    """It takes so long that its container is hit, and controllers die while it runs."""
    FAILING = "failing"
    """It fails, and so does the job."""
    NEEDING = "needing"
    """It needs a file that is not among its inputs, so it fails apart from its job."""
    LITTERING = "littering"
    """It writes into the workspace, so nothing is kept."""
    ENDLESS = "endless"
    """It never ends."""


_WEIGHTS = {SetupWay.QUICK: 8, SetupWay.SLOW: 3}
_STOPS = frozenset({SetupWay.FAILING, SetupWay.ENDLESS})
_WITH_FILES = frozenset({SetupWay.NEEDING, SetupWay.LITTERING})


@dataclass(frozen=True, slots=True)
class Setup:
    """The setup of a job. Those with the same way and key are equal."""

    way: SetupWay
    key: int

    @property
    def goes_on(self) -> bool:
        """Whether the steps of the job run after it."""
        return self.way not in _STOPS

    @property
    def output(self) -> bytes:
        """What it writes where it runs in the job."""
        begins = b"setup %d begins\n" % self.key
        return begins + b"setup %d ends\n" % self.key if self.goes_on else begins

    def shell(self) -> str:
        """Return its text, which makes a file."""
        needs = ["[ -e ci.yaml ]"] if self.way is SetupWay.NEEDING else []
        acts = {
            SetupWay.SLOW: [f"sleep {_SLOW_SECONDS}"],
            SetupWay.FAILING: [f"exit {FAILING}"],
            SetupWay.ENDLESS: ["while :; do sleep 0.1; done"],
            SetupWay.LITTERING: [f"cat {INPUT} >selftest-litter"],
        }.get(self.way, [])
        makes = f"echo 'made by setup {self.key}' >{MADE}"
        begins, ends = (f"echo 'setup {self.key} {what}'" for what in ("begins", "ends"))
        # What shells say of their terminated children is not the job's own output.
        return "\n".join(["exec 2>/dev/null", "trap 'exit 9' TERM", *needs, begins, *acts, makes, ends])

    @property
    def made(self) -> bytes:
        """The content of the file that it makes."""
        return b"made by setup %d\n" % self.key

    def spec(self, *, has_files: bool) -> dict[str, Any]:
        """Return the field `setup` of a spec."""
        return {"run": self.shell()} | ({"inputs": [INPUT]} if has_files else {})

    def outputs(self, log: bytes) -> Iterator[bytes]:
        """Yield what this setup may have added to the beginning of `log`.

        That is its own output, or the line in its place of a job that starts from what it made before. A line before
        its output says why nothing is kept of it, and may show its output of then.
        """
        yield self.output
        if hit := _HIT.match(log):
            yield hit[0]
        if log.startswith(_NOT_KEPT):
            first = self.output.partition(b"\n")[0] + b"\n"
            begin = log.rfind(first)
            yield log[:begin] + self.output if begin > 0 else log


def some_setup(random: Random, *, has_files: bool, is_cancelled: bool, ends_itself: bool) -> Setup:
    """Return a setup for a job that comes with files or without, and ends in one way or another."""
    ways = [way for way in SetupWay if has_files or way not in _WITH_FILES]
    ways = [way for way in ways if is_cancelled or way is not SetupWay.ENDLESS]
    ways = [way for way in ways if ends_itself or way is not SetupWay.FAILING]
    weights = [_WEIGHTS.get(way, 1) for way in ways]
    return Setup(random.choices(ways, weights)[0], random.randrange(KEYS))


def is_prepared(log: bytes) -> bool:
    """Return whether a log says that its job started from a prepared environment."""
    return _HIT.match(log) is not None


class ServiceWay(StrEnum):
    """What a service does."""

    READY = "ready"
    LATE = "late"
    """It is ready after a while."""
    NEVER = "never"
    """It runs, and is never ready."""
    DYING = "dying"
    """It ends while the job runs."""


@dataclass(frozen=True, slots=True)
class Service:
    """The service of a job."""

    way: ServiceWay

    def spec(self, image: str) -> dict[str, Any]:
        """Return it as `services` has it. It needs no more than a shell."""
        late = {ServiceWay.LATE: "sleep 1; ", ServiceWay.NEVER: "sleep 600; "}.get(self.way, "")
        ends = "sleep 0.7; exit 3" if self.way is ServiceWay.DYING else "while :; do sleep 1; done"
        text = f"trap 'exit 0' TERM; echo 'service begins'; {late}: >/tmp/ready; {ends}"
        ready_timeout = 1.5 if self.way is ServiceWay.NEVER else 300
        return {"image": image, "command": text, "health": "[ -e /tmp/ready ]", "ready_timeout": ready_timeout}
