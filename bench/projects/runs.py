"""One project, by detection and by its own instructions, in containers of the same image."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.projects.counts import REPORTED, Counts, counts_in
from bench.projects.sources import ROOT, Source, unpack
from bench.server import environment_waits
from tests.helpers.service import Service

LOGS = ROOT / ".cache" / "projects"
PATIENCE = 900.0
"""Seconds for one run."""
_BUNDLE = next((os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ), None)


@dataclass(frozen=True)
class Run:
    """What became of one run."""

    counts: Counts
    status: int
    """The exit status."""
    seconds: float
    hit: bool | None = None
    """Whether it started from a prepared environment; None if it has none."""
    start_way: str | None = None
    note: str = ""
    """What the log says of the environment, or why there is none."""
    key: str | None = None
    """The key of the environment that its setup makes; None if that failed."""
    report: Counts | None = None
    """How many tests ended how, by the job's test report; None without one."""


def compare(source: Source, service: Service) -> dict[str, Any]:
    """Run the project twice by detection, and once by its instructions. Returns what is kept of it."""
    with tempfile.TemporaryDirectory(prefix="ci-projects-") as directory:
        folder = unpack(source, Path(directory, "detected"))
        first = detected(source, service, folder, "first")
        # The environment is made in the background in between.
        outside = instructed(source, unpack(source, Path(directory, "outside")))
        if first.key is not None:
            with suppress(TimeoutError):  # The second run then says that it was not prepared.
                asyncio.run(environment_waits(service.url, first.key))
        second = detected(source, service, folder, "second")
        _forget_environments(service)
    runs = {"first": first, "second": second, "outside": outside}
    return {"version": source.version, **{name: asdict(run) for name, run in runs.items()}, **_report_of(second)}


def reported(source: Source, service: Service) -> dict[str, Any]:
    """Run the project once by detection. Returns what its report and pytest say of the same run."""
    with tempfile.TemporaryDirectory(prefix="ci-projects-") as directory:
        return _report_of(detected(source, service, unpack(source, Path(directory)), "reported"))


def _report_of(run: Run) -> dict[str, Any]:
    return {"reported": {"printed": run.counts, "read": run.report}}


def detected(source: Source, service: Service, folder: Path, name: str) -> Run:
    """Run the project as `ci run` does without anything said but the image."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ci_cli", "run", str(folder), "--image", source.image],
        env={**os.environ, "CI_SERVER_URL": service.url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
    )
    seconds = time.monotonic() - begun
    _keep(source, name, f"{done.stdout}\n{done.stderr}")
    match = re.search(r"^ci: job ([0-9a-f-]+)$", done.stderr, re.MULTILINE)
    if match is None:
        return Run({}, done.returncode, seconds, note=done.stderr.strip()[-300:])
    with service.client() as client:
        job = client.get(f"/jobs/{match[1]}").raise_for_status().json()
    found = job["environment"]
    made = any(step["name"] == "setup" and step["status"] == "succeeded" for step in job["steps"])
    return Run(
        counts_in(done.stdout),
        done.returncode,
        seconds,
        hit=found and found["hit"],
        start_way=job["start_way"],
        note=next((line for line in done.stdout.splitlines() if "no environment" in line), ""),
        key=found["key"] if found and made else None,
        report=job["tests"] and {name: job["tests"][name] for name in REPORTED},
    )


def instructed(source: Source, folder: Path) -> Run:
    """Run the project's own instructions in a container of its own."""
    trusted = [] if _BUNDLE is None else ["-v", f"{_BUNDLE}:/bundle.crt:ro", "-e", "PIP_CERT=/bundle.crt"]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [
                *(
                    "docker",
                    "run",
                    "--rm",
                    "--init",
                    *trusted,
                    "-e",
                    "PIP_ROOT_USER_ACTION=ignore",
                    "-e",
                    "PIP_NO_COMPILE=1",
                ),
                *("-v", "ci-projects-downloads:/root/.cache/pip", "-v", f"{folder}:/project", "-w", "/project"),
                *(source.image, "sh", "-ec", source.instructions),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run({}, -1, PATIENCE, note="it took too long")
    _keep(source, "outside", done.stdout)
    return Run(counts_in(done.stdout), done.returncode, time.monotonic() - begun)


def _forget_environments(service: Service) -> None:
    with service.client() as client:
        for entry in client.get("/environments").json():
            client.delete(f"/environments/{entry['key']}")


def _keep(source: Source, name: str, log: str) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{source.name}-{name}.log").write_text(log)
