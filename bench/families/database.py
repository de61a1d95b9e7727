"""The stores on PostgreSQL beside those on SQLite, and beside a bare loop of psycopg."""

import asyncio
from collections.abc import Mapping

from bench.databases import CONNECTIONS, WRITERS, bare_loop, both, durable_server, fill_both, size_of
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, Series
from bench.frame.turns import in_turns

NAME = "database"
TITLE = "Database: PostgreSQL beside SQLite"
BARE = "bare psycopg"


async def measure(lab: Lab) -> list[Figure]:
    """Measure writes, starts, lists at a million rows, and the growth of tables over many jobs."""
    turns = lab.samples(7, 3)
    with durable_server() as server:
        async with both(lab.directory, server) as databases, bare_loop(server) as bare:
            lab.say("submissions and pick-ups")
            number = lab.samples(1000, 300)
            submitted = await in_turns(
                turns,
                {name: lambda of=of: of.submissions(number) for name, of in {**databases, BARE: bare}.items()},
            )
            taken = await in_turns(
                turns, {name: lambda of=of: of.pickups(number) for name, of in {**databases, BARE: bare}.items()}
            )
            lab.say("starts")
            started = await in_turns(lab.samples(100, 10), {name: of.start for name, of in databases.items()})
            rows = lab.samples(1_000_000, 20_000)
            lab.say(f"lists of {rows} rows")
            await asyncio.to_thread(fill_both, server, databases, rows)
            await bare.fill(rows)
            calls = lab.samples(200, 50)
            listed = await in_turns(
                turns, {name: lambda of=of: of.lists(calls) for name, of in {**databases, BARE: bare}.items()}
            )
        lives = lab.samples(100_000, 2_000)
        lab.say(f"{lives} job lives")
        sizes: list[float] = []
        dead: list[int] = []
        async with both(lab.directory, server) as databases:
            for _ in range(10):
                await databases["PostgreSQL"].live(lives // 10)
                size, rows_left = size_of(server, databases["PostgreSQL"])
                sizes.append(size / 1e6)
                dead.append(rows_left)
    lab.note(
        f"The stores are called in one process, without HTTP: {WRITERS} callers at a time, so that writes share "
        "transactions as they do in a server. Every commit is synchronised to disk on both. Beside it, "
        f"{CONNECTIONS} connections of psycopg run one statement after the other, each its own transaction. "
        "Lists are asked for one after the other; the bare loop selects from a table with four columns."
    )
    lab.note(
        f"Over {lives:,} jobs that were submitted, started, run, completed and deleted, tables and indexes had "
        f"{', '.join(f'{size:.1f}' for size in sizes)} MB after each tenth, with "
        f"{', '.join(f'{rows_left:,}' for rows_left in dead)} dead rows."
    )
    more, less = Better.MORE, Better.LESS
    return [
        beside("database.submissions.bare", "submissions, beside a bare loop", "jobs/s", more, submitted, BARE),
        beside("database.submissions", "submissions", "jobs/s", more, submitted, "SQLite"),
        beside("database.pickups.bare", "pick-ups, beside a bare loop", "jobs/s", more, taken, BARE),
        beside("database.pickups", "pick-ups", "jobs/s", more, taken, "SQLite"),
        beside("database.start", "submission to RUNNING", "ms", less, started, "SQLite"),
        beside("database.list.bare", f"the newest 50 of {rows:,} rows, beside psycopg", "lists/s", more, listed, BARE),
        beside("database.list", f"the newest 50 of {rows:,} jobs", "lists/s", more, listed, "SQLite"),
        Figure(
            "database.growth",
            f"tables and indexes over {lives:,} jobs, against the first tenth",
            "MB",
            less,
            Series("PostgreSQL", tuple(sizes[1:])),
            Series("the first tenth", tuple(sizes[:1] * (len(sizes) - 1))),
            exact=True,
        ),
    ]


def beside(key: str, title: str, unit: str, better: Better, taken: Mapping[str, list[float]], reference: str) -> Figure:
    """Return a figure of PostgreSQL beside one of the others."""
    ours, theirs = (Series(name, tuple(taken[name])) for name in ("PostgreSQL", reference))
    return Figure(key, title, unit, better, ours, theirs)
