"""What the script of a job writes into `exit` at its end."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_EXIT = re.compile(
    rb"(\d{1,3})( term)?(?: oom:(\d{1,18}))?(?: pids:(\d{1,18}))?(?: throttled:(\d{1,3}))?"
    rb"((?: (?:cpu|mem|read|written|received|sent):\d{1,18}){0,6})( last)?( killed)?\n"
)
_USE = re.compile(rb" (\w+):(\d+)")
EXIT_BYTES = 256
"""More than the file has."""


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """What the script wrote when the job's own code ended."""

    code: int
    """Exit status, 0 to 255."""
    terminated: bool
    """Whether the job had to stop (the mark `stopping`)."""
    oom_kills: int | None = None
    """How many processes the kernel killed out of memory during the last step; None if it does not report that."""
    refused_forks: int | None = None
    """How often the kernel refused a new process during the last step; None if it does not report that."""
    throttled_percent: int | None = None
    """The percentage of scheduling periods in which the limit on processors throttled the job; None if not known."""
    last: bool = False
    """Whether no process of the job was left, so that the log was complete."""
    killed: bool = False
    """Whether a signal killed the script, so that the runtime wrote this record instead."""
    use: Mapping[str, int] = field(default_factory=dict, hash=False)
    """What the container used, as far as the script could read it: `cpu` in microseconds, and in bytes `mem` (at most
    at once), `read`, `written`, `received` and `sent`."""


def parse_exit(content: bytes) -> ExitRecord | None:
    """Return the record, or None if it is not complete."""
    match = _EXIT.fullmatch(content)
    if match is None or int(match[1]) > 255:
        return None
    oom_kills, refused_forks, throttled = (None if text is None else int(text) for text in match.groups()[2:5])
    use = {name.decode(): int(count) for name, count in _USE.findall(match[6])}
    return ExitRecord(
        int(match[1]), bool(match[2]), oom_kills, refused_forks, throttled, bool(match[7]), bool(match[8]), use
    )
