"""Requests per second with all that makes a server safe to share, against the same server without it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, Series
from bench.frame.turns import in_turns
from bench.served import CONNECTIONS, Sample, loaded, served
from ci_persistence.open import sqlite_storage
from tests.helpers.keys import bearing, stored_key
from tests.helpers.service import Service

NAME = "guards"
TITLE = "Guards: requests with keys, limits, audit and access log, against without"
WITH, WITHOUT = "with", "without"
_PLENTY = "1000000/s"
_LIMITED = ("REQUESTS", "SUBMISSIONS", "CHANGES", "PROJECT_REQUESTS", "PROJECT_SUBMISSIONS", "PROJECT_CHANGES")
_ALIKE = {"CI_CONTROLLER": "off", "MAX_QUEUED": "10000000"}
_JOB = {"type": "echo", "payload": {"text": "x"}, "project": "web"}
_LISTED = 20


async def measure(lab: Lab) -> list[Figure]:
    """Measure reads of a job, lists of jobs, and submissions, which the audit records."""
    turns = lab.samples(9, 3)
    numbers = {"read": lab.samples(4000, 500), "list": lab.samples(1000, 200), "submit": lab.samples(2000, 300)}
    figures: list[Figure] = []
    async with guarded(lab.directory) as (safe, key), unguarded(lab.directory) as bare:
        requests = {
            WITH: await asyncio.to_thread(prepared, safe, key),
            WITHOUT: await asyncio.to_thread(prepared, bare, ""),
        }
        services = {WITH: safe, WITHOUT: bare}
        for kind, number in numbers.items():
            lab.say(kind)

            async def sample(which: str, kind: str = kind, number: int = number) -> Sample:
                return await asyncio.to_thread(loaded, services[which], requests[which][kind], number)

            figures += _figures(kind, await in_turns(turns, {which: partial(sample, which) for which in services}))
    lab.note(
        "Two servers that are alike but for this: one has keys, limits that are counted and never reached, the audit, "
        "and the access log, whose lines this process reads; the other has no key, no limits, no audit, and writes "
        f"errors only. {CONNECTIONS} connections from a process of its own, no controller. Reads are in no audit."
    )
    return figures


@asynccontextmanager
async def guarded(directory: Path) -> AsyncIterator[tuple[Service, str]]:
    """Run a server with a key, and return it with that."""
    home = directory / WITH
    home.mkdir()
    storage = sqlite_storage(home / "ci_jobs.db")
    await storage.open()
    key = await stored_key(storage, projects=frozenset({"web"}))
    await storage.close()
    limits = {f"CI_RATE_{name}": _PLENTY for name in _LIMITED}
    with served(home, CI_LOG_LEVEL="info", **_ALIKE, **limits) as service:
        yield service, key


@asynccontextmanager
async def unguarded(directory: Path) -> AsyncIterator[Service]:
    """Run a server without keys, limits, audit and access log."""
    home = directory / WITHOUT
    home.mkdir()
    limits = {f"CI_RATE_{name}": "none" for name in _LIMITED}
    with served(home, "-m", "bench.unaudited", CI_LOG_LEVEL="error", **_ALIKE, **limits) as service:
        yield service


def prepared(service: Service, key: str) -> dict[str, bytes]:
    """Submit some jobs, and return the requests that are measured, by kind."""
    headers = bearing(key) if key else {}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as client:
        jobs = [client.post("/jobs", json=_JOB).raise_for_status().json()["job_id"] for _ in range(_LISTED)]
    paths = {"read": f"GET /jobs/{jobs[0]}", "list": f"GET /jobs?limit={_LISTED}", "submit": "POST /jobs"}
    return {kind: _request(path, headers, _JOB if kind == "submit" else None) for kind, path in paths.items()}


def _request(line: str, headers: dict[str, str], body: object) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{line} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [] if body is None else ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def _figures(kind: str, taken: dict[str, list[Sample]]) -> list[Figure]:
    """Return the rates, and the processor time of the servers, which other load on the machine touches less."""
    rates = {which: Series(which, tuple(sample.rate for sample in samples)) for which, samples in taken.items()}
    spent = {
        which: Series(which, tuple(sample.processor * 1e6 for sample in samples)) for which, samples in taken.items()
    }
    title = {"read": "reads of a job", "list": f"lists of {_LISTED} jobs", "submit": "submissions"}[kind]
    return [
        Figure(f"guards.{kind}", title, "requests/s", Better.MORE, rates[WITH], rates[WITHOUT]),
        Figure(f"guards.{kind}.cpu", f"{title}, processor time", "µs", Better.LESS, spent[WITH], spent[WITHOUT]),
    ]
