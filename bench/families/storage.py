"""Storage and HTTP under load: submissions, uploads, and a million finished jobs."""

import asyncio

from bench.figures import MIB
from bench.frame.lab import Lab
from bench.frame.limits import DISK, MEMORY
from bench.frame.model import Better, Figure, Series
from bench.store import Comparison, million_rows, post_jobs, upload

NAME = "storage"
TITLE = "Storage: submissions, uploads, a million rows"


async def measure(lab: Lab) -> list[Figure]:
    """Measure each beside the bare framework, or beside an empty database."""
    rounds = lab.samples(7, 3)
    lab.say("POST /jobs")
    posted = await asyncio.to_thread(post_jobs, rounds=rounds, requests=lab.samples(4000, 1000))
    lab.say("uploads")
    size = lab.samples(100, 20)
    uploaded, growth = await asyncio.to_thread(upload, rounds=rounds, size=size * MIB)
    rows = lab.samples(1_000_000, 50_000)
    lab.say(f"{rows} rows")
    listed, picked_up = await asyncio.to_thread(million_rows, rounds=rounds, rows=rows, calls=lab.samples(200, 50))
    bounds = await lab.limits(MEMORY, DISK)
    lab.note(
        "`POST /jobs` with 64 connections: each submission is durable (`synchronous=FULL`) before its answer; "
        "beside it, the bare framework takes and answers the same JSON. The controller is left out "
        "(`CI_CONTROLLER=off`)."
    )
    lab.note(
        f"Uploads of {size} MiB are received, digested and synchronised to disk, and then refused, since they are no "
        "zip archive: unpacking is no part of it. Beside it, the bare framework writes the same stream to disk, "
        "also synchronised at its end; otherwise it would only be in memory."
    )
    lab.note(f"{rows:,} finished jobs beside an empty database: `GET /jobs`, and from submission to end, in turns.")
    return [
        compared(
            "store.post", "`POST /jobs`, 64 connections", "requests/s", posted, "the bare framework", is_limit=True
        ),
        compared("store.upload", "upload", "MB/s", uploaded, "raw to disk", per=1e6, bounds=bounds),
        Figure(
            "store.upload_memory",
            "memory by which the server grows",
            "MB",
            Better.LESS,
            Series("ci-server", (max(growth, 0) / 1e6,)),
            exact=True,
        ),
        compared("store.list", f"`GET /jobs`, {rows:,} rows", "requests/s", listed, "no rows"),
        compared("store.pickup", f"submission to end, {rows:,} rows", "jobs/s", picked_up, "no rows"),
    ]


def compared(
    key: str,
    title: str,
    unit: str,
    comparison: Comparison,
    reference: str,
    *,
    per: float = 1.0,
    bounds: tuple[str, ...] = (),
    is_limit: bool = False,
) -> Figure:
    """Return a comparison as a figure, its rates divided by `per`."""
    ours, theirs = (
        Series(name, tuple(sample.rate / per for sample in side))
        for name, side in (("ci-server", comparison.ours), (reference, comparison.theirs))
    )
    return Figure(key, title, unit, Better.MORE, ours, theirs, bounds, reference_is_limit=is_limit)
