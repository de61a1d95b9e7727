"""What writes cost on SQLite: the processor time of each write in a job's life, without HTTP.

    python -m bench.writes [--jobs N] [--rounds N]

To compare two versions, run it in a checkout of each, in turns: on a machine that others use, too, only that holds.
Prints a table in Markdown. All threads count, and what the system does for the process.
"""

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from bench.databases import WRITERS, Stored, stored
from bench.figures import machine, table
from ci_common.configuration.database_address import DatabaseAddress
from ci_common.jobs import Conclusion, Job, State
from ci_common.times import utc_now
from tests.helpers.jobs import PLENTY, new_job

ARRIVAL = {"accepted": 1_700_000_000_000_000, "validated": 1_700_000_000_000_500}
NAMES = ("a submission", "STARTING", "RUNNING", "COMPLETED")


async def round_of(number: int, stored: Stored) -> list[float]:
    """Take so many jobs through their lives, one step after the other; return the microseconds of each step for one."""
    taken: list[float] = []

    async def step(act: Callable[[Any], Awaitable[Job]], items: Sequence[Any]) -> list[Job]:
        left = iter(items)
        done: list[Job] = []

        async def work() -> None:
            done.extend([await act(item) for item in left])

        begun = time.process_time()
        await asyncio.gather(*(work() for _ in range(WRITERS)))
        taken.append((time.process_time() - begun) / number * 1e6)
        return done

    def update(job: Job, **changes: Any) -> Awaitable[Job]:
        return stored.controller.jobs.update(job, stored.lease, **changes)

    end = {"conclusion": Conclusion.SUCCEEDED, "exit_code": 0, "log_bytes": 100, "log_sha256": "0" * 64}
    new = [new_job(arrival=ARRIVAL) for _ in range(number)]
    jobs = await step(lambda job: stored.api.jobs.add(job, max_queued=PLENTY), new)
    jobs = await step(stored.starting, jobs)
    jobs = await step(lambda job: update(job, state=State.RUNNING, start_time=utc_now()), jobs)
    await step(lambda job: update(job, state=State.COMPLETED, end_time=utc_now(), **end), jobs)
    return taken


async def measure(jobs: int, rounds: int) -> str:
    """Return the table."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # As the server has it.
    with TemporaryDirectory() as directory:
        async with stored(DatabaseAddress(path=Path(directory) / "jobs.db")) as database:
            await round_of(jobs, database)  # So that nothing is done for the first time.
            found = [await round_of(jobs, database) for _ in range(rounds)]
    columns = {**dict(zip(NAMES, zip(*found, strict=True), strict=True)), "all four": tuple(map(sum, found))}
    rows = [
        (name, f"{statistics.median(each):.1f}", f"{min(each):.1f} to {max(each):.1f}")
        for name, each in columns.items()
    ]
    return f"Measured on {machine()}.\n\n{table(('write', 'processor time, us', 'least to most'), rows)}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.writes")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(uvloop.run(measure(options.jobs, options.rounds)))


if __name__ == "__main__":
    main()
