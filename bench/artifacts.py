"""How fast artifacts are kept, beside `cp` and `sha256sum`: `python -m bench.artifacts [--files N] [--bytes SIZE]`.

Measures what a controller does between the end of the code of a job and its verdict: search, copy, digest, wait for
the disk. Each turn has new files; caches of the disk are warm, as they are after a job.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ci_common.artifacts.directory import DirectoryStore
from ci_common.jobs import Conclusion, Job, State, new_job_id
from ci_common.parsing.text import shown_size
from ci_common.parsing.values import parse_size
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.spec_parts.artifacts import PlannedArtifacts
from ci_common.times import utc_now
from ci_controller.artifacts import Artifacts

_CHUNK = 8 * 1024**2


def main() -> None:
    """Measure, and print a table in Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=10_000, help="how many small files, of 4 KiB each")
    arguments.add_argument("--bytes", type=parse_size, default=5 * 1024**3, help="the size of the one large file")
    arguments.add_argument("--directory", type=Path, help="where; by default that for temporary files")
    given = arguments.parse_args()
    print("| files | what | seconds | rate |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=given.directory) as place:
        for name, make in {
            f"{given.files} of 4 KiB, random": lambda out: _small(out, given.files),
            f"1 of {shown_size(given.bytes)}, random": lambda out: _large(out, given.bytes, os.urandom(_CHUNK)),
            f"1 of {shown_size(given.bytes)}, text": lambda out: _large(out, given.bytes, _text()),
        }.items():
            _measure(name, make, Path(place))


def _measure(name: str, make: Callable[[Path], None], place: Path) -> None:
    data = DataDirectory(place / "data")
    plan = ExecutionPlan(
        image="x",
        steps=(PlannedStep(name="s", shell="x"),),
        timeout=1.0,
        artifacts=(PlannedArtifacts(take=("out",)),),
    )
    now = utc_now()
    job = Job(
        id=new_job_id(), type="container", submit_time=now, state=State.RUNNING, plan=plan.model_dump(mode="json")
    )
    run = data.run_of(job)
    out = run.workspace / "out"
    out.mkdir(parents=True)
    run.started.touch()
    make(out)
    size = sum(path.stat().st_size for path in out.iterdir())
    store = DirectoryStore(data.artifacts)
    artifacts = Artifacts(Settings(), store=store, clock=utc_now, check=lambda: None)

    def collect() -> None:
        kept = asyncio.run(artifacts.collect(job, run, Conclusion.SUCCEEDED))
        assert kept is not None
        assert kept.bytes == size, kept.left_out

    copy = place / "copy"
    for what, work in {
        "cp -r, sync": lambda: subprocess.run(f"cp -r '{out}' '{copy}' && sync -f '{copy}'", shell=True, check=True),
        "sha256sum": lambda: subprocess.run(
            f"find '{out}' -type f -print0 | xargs -0 sha256sum >/dev/null", shell=True, check=True
        ),
        "kept as artifacts": collect,
    }.items():
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        print(f"| {name} | {what} | {seconds:.2f} | {shown_size(size / seconds)}/s |", flush=True)
    stored = sum(path.stat().st_size for path in data.artifacts.rglob("*") if path.is_file())
    print(f"| {name} | on disk | | {shown_size(stored)} |", flush=True)
    # Not before: ext4 makes files slowly for some seconds after many were deleted.
    shutil.rmtree(copy)
    shutil.rmtree(data.path)


def _small(out: Path, number: int) -> None:
    for file in range(number):
        (out / f"{file:05}.bin").write_bytes(os.urandom(4096))


def _large(out: Path, size: int, chunk: bytes) -> None:
    with (out / "large").open("wb") as file:
        while (left := size - file.tell()) > 0:
            file.write(chunk[:left])


def _text() -> bytes:
    return b"".join(b"%08d GET /index.html 200 %d\n" % (number, number * 7919 % 1000) for number in range(280_000))


if __name__ == "__main__":
    main()
