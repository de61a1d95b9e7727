"""Generated requests to every endpoint, and their answers, against the OpenAPI document."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ci_common.jobs import Job, NewJob
from ci_persistence.stores.jobs import JobStore
from tests.helpers.installation import ROOT
from tests.helpers.played_api import Api, StartApi

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "25")
"""Requests for each operation, and sequences of requests."""
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
"""Fixed, so that a run says the same of the same code; another one finds other things."""


@pytest.fixture
async def busy_api(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A server whose jobs complete as soon as they are stored, with a line in their logs."""
    api: Api = await start_api(max_log_bytes=2**63 - 1)
    add = JobStore.add

    async def add_and_complete(self: JobStore, job: NewJob, **more: Any) -> Job:
        added: Job = await add(self, job, **more)
        await api.controller.start(added.id)
        api.controller.write(added.id, b"a line\n")
        await api.controller.finish(added.id)
        return added

    monkeypatch.setattr(JobStore, "add", add_and_complete)
    return api


async def test_schemathesis_finds_nothing(busy_api: Api, tmp_path: Path) -> None:
    """All checks: statuses, bodies and headers of answers, what is accepted and refused, and what follows what."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{busy_api.url}/openapi.json"),
        *("--checks", "all", "--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure", "--warnings", "off"),
        *("--suppress-health-check", "all", "--request-timeout", "20", "--no-color"),
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.e2e.api.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
