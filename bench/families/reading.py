"""What reading logs costs: rates against `docker logs`, latency, and a thousand readers of one job."""

from bench.crowd import measure_crowd
from bench.figures import MIB
from bench.frame.lab import Lab
from bench.frame.limits import GATE, MEMORY
from bench.frame.model import Better, Figure, Series
from bench.logs import measure_latency, measure_rates

NAME = "reading"
TITLE = "Reading: logs and their readers"


async def measure(lab: Lab) -> list[Figure]:
    """Measure each beside the engine, or beside preformatted bytes. Raises RuntimeError if a byte was missing."""
    return [*await rates(lab), *await latencies(lab), *await crowds(lab)]


async def rates(lab: Lab) -> list[Figure]:
    """Measure stream and download against `docker logs`."""
    bounds = await lab.limits(MEMORY)
    size, engine_size = lab.samples(64, 16), lab.samples(16, 4)
    taken = [await measure_rates(lab.image, size * MIB, engine_size * MIB) for _ in range(lab.samples(4, 2))]
    if not all(rate.whole for pair in taken for rate in pair):
        raise RuntimeError("a reader did not get every byte of a log")
    lab.note(
        f"A container writes {size} MiB of log lines as fast as it can, to one reader of its stream; then the log is "
        f"fetched by `GET /log`. Beside it, `docker logs --follow` and `docker logs` of a container that writes "
        f"{engine_size} MiB of the same lines. Every byte has come."
    )
    shown = (("log.sse", "stream to one reader", "`docker logs -f`"), ("log.get", "`GET /log`", "`docker logs`"))
    return [
        Figure(
            key,
            title,
            "MB/s",
            Better.MORE,
            Series("ci-server", tuple(pair[place].ours for pair in taken)),
            Series(reference, tuple(pair[place].engine for pair in taken)),
            bounds,
        )
        for place, (key, title, reference) in enumerate(shown)
    ]


async def latencies(lab: Lab) -> list[Figure]:
    """Measure how long single lines take from container to reader."""
    bounds = await lab.limits(GATE)
    taken = [await measure_latency(lab.image, lab.samples(300, 50)) for _ in range(lab.samples(3, 2))]
    lab.note(
        f"Latency: a container writes {taken[0].samples} lines, one by one, with the time in each; a sample is a "
        "round's p50 or p99. `CI_POOL_SIZE=0`, so that the engine makes no other container at the same time."
    )
    return [
        Figure(
            f"log.latency_{name}",
            f"write to arrival, {name}",
            "ms",
            Better.LESS,
            Series("ci-server", values),
            None,
            bounds,
        )
        for name, values in (("p50", tuple(one.p50 for one in taken)), ("p99", tuple(one.p99 for one in taken)))
    ]


async def crowds(lab: Lab) -> list[Figure]:
    """Measure many readers of one chatty job."""
    readers = lab.samples(1000, 300)
    taken = [await measure_crowd(readers) for _ in range(lab.samples(3, 1))]
    lab.note(
        f"{readers:,} readers of one job that writes {taken[0].events} lines, one at a time; beside it, a plain ASGI "
        "callable that sends the same bytes, preformatted. Processor time and memory are those of the server's process."
    )
    plain = "preformatted bytes"
    return [
        Figure(
            "readers.whole",
            "readers that got all bytes",
            "%",
            Better.MORE,
            Series("ci-server", tuple(100 * crowd.whole / crowd.readers for crowd in taken)),
            exact=True,
        ),
        Figure(
            "readers.cpu",
            "processor time for each event to each reader",
            "us",
            Better.LESS,
            Series("ci-server", tuple(crowd.microseconds for crowd in taken)),
            Series(plain, tuple(crowd.preformatted_microseconds for crowd in taken)),
        ),
        Figure(
            "readers.memory",
            "resident memory for each reader that waits",
            "KB",
            Better.LESS,
            Series("ci-server", tuple(crowd.memory / 1024 for crowd in taken)),
            Series(plain, tuple(crowd.preformatted_memory / 1024 for crowd in taken)),
        ),
    ]
