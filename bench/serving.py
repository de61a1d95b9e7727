"""What it costs to serve logs: rates against `docker logs`, latency, and a thousand readers against preformatted bytes.

    python -m bench.serving [--image IMAGE] [--readers N] [--log-mib N] [--without-docker]

Starts servers of its own on temporary paths. Every ratio is between two things measured in the same run. Ends with 1
where a reader did not get every byte.
"""

import argparse
import asyncio
import sys

from bench.crowd import measure_crowd
from bench.figures import MIB, table
from bench.logs import measure_latency, measure_rates
from ci_common.system.process_tuning import allow_many_descriptors


async def measure(options: argparse.Namespace) -> tuple[str, bool]:
    """Return the table, in Markdown, and whether every byte has come."""
    rows: list[tuple[str, str]] = []
    whole = True
    if not options.without_docker:
        rates = await measure_rates(options.image, options.log_mib * MIB, options.engine_mib * MIB)
        for rate, ours, engine in zip(rates, ("stream", "GET /log"), ("docker logs -f", "docker logs"), strict=True):
            rows.append((ours, f"{rate.ours:.0f} MB/s, {engine} {rate.engine:.1f}: {rate.ratio:.0f} times"))
            whole = whole and rate.whole
        latency = await measure_latency(options.image)
        rows.append(("write to arrival", f"p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms of {latency.samples}"))
    if options.readers:
        crowd = await measure_crowd(options.readers)
        whole = whole and crowd.whole == crowd.readers
        rows += [
            (f"readers that got all of {crowd.events} events", f"{crowd.whole} of {crowd.readers}"),
            (
                "processor time for each event to each",
                f"{crowd.microseconds:.1f} us, preformatted {crowd.preformatted_microseconds:.1f}: {crowd.ratio:.2f}",
            ),
            (
                "memory for each that waits",
                f"{crowd.memory / 1024:.1f} KiB, preformatted {crowd.preformatted_memory / 1024:.1f}",
            ),
        ]
    return table(("serving", "measured"), rows), whole


def main() -> int:
    """Measure, on servers of its own; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="python:3.12-slim")
    parser.add_argument("--readers", type=int, default=1000, help="0 leaves them out")
    parser.add_argument("--log-mib", type=int, default=64, help="size of the log of a job")
    parser.add_argument("--engine-mib", type=int, default=16, help="size of the log of a container")
    parser.add_argument("--without-docker", action="store_true", help="leave out what needs an engine")
    options = parser.parse_args()
    allow_many_descriptors()
    text, whole = asyncio.run(measure(options))
    print(text)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
