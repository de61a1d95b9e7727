"""The long run: `make fuzz`, with FUZZ_ARGS for these options."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from secrets import randbelow

from tests.fuzz.campaign import Campaign, Failure
from tests.fuzz.kinds import GENERATORS
from tests.fuzz.message import read
from tests.fuzz.server import WatchedServer

COUNT = 20_000
FAILED = Path(".cache") / "fuzz"
_STRETCH = 500
"""Inputs of one kind between two looks at what the server keeps, and lines on how far the run has come."""


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=randbelow(10**6), help="by default another one each time")
    parser.add_argument("--count", type=int, default=COUNT, help=f"inputs of all kinds together, by default {COUNT}")
    parser.add_argument("--kind", action="append", choices=tuple(GENERATORS), help="only these; may be repeated")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input of each kind")
    parser.add_argument("--keys", action="store_true", help="the server needs keys, and inputs are sent with one")
    parser.add_argument("--shrink", type=float, default=20.0, metavar="SECONDS", help="spent on each fault's input")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="send one input that failed before")
    return parser.parse_args()


def fuzz(asked: argparse.Namespace, server: WatchedServer) -> list[Failure]:
    """Run what was asked for; return what failed."""
    kinds = asked.kind or list(GENERATORS)
    each = max(1, asked.count // len(kinds))
    failures: list[Failure] = []
    for kind in kinds:
        campaign = Campaign(server, kind, asked.seed, 0, FAILED, shrink_seconds=asked.shrink, say=say)
        for first in range(asked.first, asked.first + each, _STRETCH):
            campaign.first, campaign.count = first, min(_STRETCH, asked.first + each - first)
            campaign.run()
            say(f"{kind}: {first + campaign.count - asked.first} of {each}, answers {campaign.told_statuses()}")
        failures += campaign.failures.values()
        for failure in campaign.failures.values():
            print(f"\n=== {failure.told()}", flush=True)
    return failures


def replay(path: Path, server: WatchedServer) -> list[Failure]:
    """Send one input again; return what failed."""
    kind, message = read(path)
    failures = Campaign(server, kind, 0, 1, FAILED, say=say).again(message)
    for failure in failures:
        print(f"\n=== {failure.told()}", flush=True)
    return failures


def say(text: str) -> None:
    print(f"fuzz: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Return the exit status: 1 where something failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # The server ends with this process.
    asked = options()
    if asked.replay is None:
        say(f"seed {asked.seed}, {asked.count} inputs")
    with tempfile.TemporaryDirectory(prefix="ci-fuzz-") as directory:
        server = WatchedServer(Path(directory), has_keys=asked.keys)
        server.start()
        try:
            failures = fuzz(asked, server) if asked.replay is None else replay(asked.replay, server)
        finally:
            server.close()
    say(f"{len(failures)} faults")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
