"""The counts that pytest ends with."""

import re

Counts = dict[str, int]
"""How many tests had which outcome; empty if pytest did not get so far."""

OUTCOMES = ("passed", "failed", "skipped", "xfailed", "xpassed", "error")
REPORTED = ("total", "passed", "failed", "errors", "skipped")
"""What a job says of its test report."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CLOSING = re.compile(r"^(?:=+ )?(\d+ [a-z]+(?: [a-z]+)?(?:, \d+ [a-z]+(?: [a-z]+)?)*) in [\d.]+s\b", re.MULTILINE)
_OPENING = re.compile(r"^=+ test session starts =+$", re.MULTILINE)
_NUMBER = re.compile(r"(\d+) ([a-z]+)")


def counts_in(log: str) -> Counts:
    """Return the sums of all closing lines of pytest in a log: some instructions call it more than once.

    Without those of the runs that a test has made inside of another, whose output a test that fails shows.
    """
    text = _ANSI.sub("", log).replace("\r\n", "\n")
    lines = sorted([*_OPENING.finditer(text), *_CLOSING.finditer(text)], key=lambda line: line.start())
    found: Counts = {}
    inside = 0
    for line in lines:
        inside = inside + 1 if line.re is _OPENING else max(inside - 1, 0)
        if inside == 0 and line.re is _CLOSING:
            for number, word in _NUMBER.findall(line[1]):
                outcome = "error" if word == "errors" else word
                if outcome in OUTCOMES:
                    found[outcome] = found.get(outcome, 0) + int(number)
    return found


def as_reported(counts: Counts) -> Counts:
    """Return what a report of a run has, of which pytest has printed `counts`.

    JUnit XML has no word for expected failures: they are skipped tests there, and those that passed have passed.
    """
    found = {name: counts.get(name, 0) for name in ("passed", "failed", "skipped")}
    found["passed"] += counts.get("xpassed", 0)
    found["skipped"] += counts.get("xfailed", 0)
    found["errors"] = counts.get("error", 0)
    return found | {"total": sum(found.values())}


def in_words(counts: Counts) -> str:
    """Return the counts for people."""
    return ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if name in counts) or "none"
