"""Storage and HTTP under load: submissions, uploads, a million finished jobs, and the resources of an idle server.

    python -m bench.store [--rounds N] [--requests N] [--upload-bytes N] [--rows N] [--idle SECONDS]

Every figure is a ratio to something measured beside it in the same run, in turns: on a machine that others use, too,
only that holds. Prints a table in Markdown; 0 leaves a part out.
"""

import argparse
import sqlite3
import statistics
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.figures import MIB, machine, processor_seconds, resident_memory, table
from bench.served import (
    CONNECTIONS,
    Comparison,
    Sample,
    bare,
    loaded,
    posting,
    scratch,
    sending,
    sent,
    served,
    switches,
)
from tests.helpers.service import Service

PICKED_UP = 20
SUBMISSION = {"type": "echo", "payload": {"question": "how long does this take?"}}


def post_jobs(*, rounds: int = 7, requests: int = 4000, **settings: str) -> Comparison:
    """Submit jobs by `POST /jobs`, each durable before its answer, against a bare JSON endpoint.

    The controller is left out unless `settings` say otherwise: what it does with the jobs is another figure.
    """
    wide = {"CI_CONTROLLER": "off", "MAX_QUEUED": "1000000000"} | settings
    with scratch() as directory, bare(directory) as framework, served(directory, **wide) as service:
        ours: list[Sample] = []
        theirs: list[Sample] = []
        for request, where in ((posting("/jobs", SUBMISSION), service), (posting("/json", SUBMISSION), framework)):
            loaded(where, request, CONNECTIONS)  # So that nothing is done for the first time.
        for _ in range(rounds):
            theirs.append(loaded(framework, posting("/json", SUBMISSION), requests))
            ours.append(loaded(service, posting("/jobs", SUBMISSION), requests))
        return Comparison("POST /jobs, requests/s", tuple(ours), tuple(theirs))


def upload(*, rounds: int = 7, size: int = 100 * MIB) -> tuple[Comparison, int]:
    """Upload `size` bytes, against writing the same stream durably to disk in a bare application.

    What is sent is no zip archive: it is received, digested and synchronised to disk, and then refused, so that
    unpacking is no part of the figure. Also returns by how many bytes the server's memory grew at most.
    """
    ours: list[Sample] = []
    theirs: list[Sample] = []
    growth = 0
    with scratch() as directory, bare(directory) as framework, served(directory, CI_CONTROLLER="off") as service:
        sent(service, sending("/submit-async", MIB, multipart=True), MIB)
        before = resident_memory(service.process.pid)
        for _ in range(rounds):
            theirs.append(sent(framework, sending("/file", size, multipart=False), size)[0])
            sample, memory = sent(service, sending("/submit-async", size, multipart=True), size)
            ours.append(sample)
            growth = max(growth, memory - before)
    return Comparison(f"upload of {size // MIB} MiB, bytes/s", tuple(ours), tuple(theirs)), growth


FINISHED = """
INSERT INTO jobs (id, type, submit_time, owner, priority, project, labels, payload, has_upload, max_attempts, state,
                  version, end_time, conclusion)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT :rows)
SELECT printf('01900000-%04x-7%03x-8000-%012x', i / 65536, 0, i), 'echo', :first + i, '', 0, 'p' || (i % 100), '{}',
       '{}', 0, 1, 'completed', 3, :first + i + 1000, 'succeeded' FROM n
"""
ENDED = """
INSERT INTO attempts (job_id, number, runtime, start_time, end_time, conclusion, exit_code, log_bytes, log_sha256)
SELECT id, 1, 'builtin', submit_time, end_time, conclusion, 0, 0, '' FROM jobs WHERE id LIKE '01900000-%'
"""


def fill(database: Path, rows: int) -> None:
    """Insert recently ended jobs into a database that is not in use."""
    first = int((time.time() - 7200) * 1_000_000)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(FINISHED, {"rows": rows, "first": first})
        connection.execute(ENDED)


def million_rows(*, rounds: int = 7, rows: int = 1_000_000, calls: int = 200) -> tuple[Comparison, Comparison]:
    """List and run jobs with `rows` finished ones in the database, against an empty database."""
    kept = {"MAX_JOBS": "unlimited", "CI_RETENTION": "forever"}
    with scratch() as directory:
        (directory / "full").mkdir()
        (directory / "empty").mkdir()
        with served(directory / "full", **kept):
            pass  # Which makes the database.
        fill(directory / "full" / "ci_jobs.db", rows)
        with served(directory / "full", **kept) as full, served(directory / "empty", **kept) as empty:
            for _ in range(50):
                picked_up(full)
                picked_up(empty)
            listed: tuple[list[Sample], list[Sample]] = ([], [])
            taken: tuple[list[Sample], list[Sample]] = ([], [])
            for _ in range(rounds):
                for place, service in enumerate((full, empty)):
                    listed[place].append(loaded(service, b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", calls, 4))
                    used = processor_seconds(service.process.pid)
                    seconds = picked_up(service, PICKED_UP)
                    used = processor_seconds(service.process.pid) - used
                    taken[place].append(Sample(1 / seconds, used / PICKED_UP))
        name = f"beside {rows} finished jobs, per second"
        return (
            Comparison(f"GET /jobs {name}", tuple(listed[0]), tuple(listed[1])),
            Comparison(f"jobs from submission to end {name}", tuple(taken[0]), tuple(taken[1])),
        )


def picked_up(service: Service, times: int = 1) -> float:
    """Submit a job and wait for its end, several times; return the median of the seconds."""
    taken = []
    with service.client() as client:
        for _ in range(times):
            begun = time.perf_counter()
            job_id = client.post("/jobs", json={"type": "echo"}).raise_for_status().json()["job_id"]
            client.get(f"/jobs/{job_id}/stream?from_beginning=true").raise_for_status()
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


@dataclass(frozen=True)
class Idle:
    """The resources of an idle server."""

    runtime: str
    processor: float
    """The share of one processor."""
    switches: float
    """How often a second its threads are woken."""


def idle_cpu(runtime: str, *, seconds: float = 60.0) -> Idle:
    """Watch an idle `ci serve`, API and controller in one process, for `seconds`."""
    with scratch() as directory, served(directory, CI_RUNTIME=runtime) as service:
        pid = service.process.pid
        time.sleep(5)
        used, woken = processor_seconds(pid), switches(pid)
        time.sleep(seconds)
        return Idle(runtime, (processor_seconds(pid) - used) / seconds, (switches(pid) - woken) / seconds)


def rows_of(comparison: Comparison) -> tuple[str, ...]:
    """Return a comparison as a row of a table."""
    ours, theirs = ([sample.rate for sample in side] for side in (comparison.ours, comparison.theirs))
    figures = (f"{statistics.median(side):,.0f} ({min(side):,.0f} to {max(side):,.0f})" for side in (ours, theirs))
    return comparison.name, *figures, f"{comparison.ratio:.2f}", f"{comparison.processor_ratio:.1f}"


def measure(options: argparse.Namespace) -> str:
    """Return the report, in Markdown."""
    comparisons: list[Comparison] = []
    notes: list[str] = []
    if options.requests:
        comparisons.append(post_jobs(rounds=options.rounds, requests=options.requests))
    if options.upload_bytes:
        comparison, growth = upload(rounds=options.rounds, size=options.upload_bytes)
        comparisons.append(comparison)
        notes.append(f"Memory of the server grew by at most {growth / MIB:.0f} MiB during the uploads.")
    if options.rows:
        comparisons.extend(million_rows(rounds=options.rounds, rows=options.rows))
    if options.idle:
        for runtime in ("process", "docker"):
            idle = idle_cpu(runtime, seconds=options.idle)
            notes.append(
                f"Idle, with runtime {runtime}: {idle.processor * 100:.2f} % of a processor, "
                f"{idle.switches:.0f} wake-ups a second."
            )
    head = ("figure", "ours: median (least to most)", "beside it", "ratio", "processor time, times")
    return "\n\n".join([f"Measured on {machine()}.", table(head, map(rows_of, comparisons)), *notes])


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--upload-bytes", type=int, default=100 * MIB)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--idle", type=float, default=60.0, metavar="SECONDS")
    print(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
