"""Generated requests to every endpoint, and their answers, against the OpenAPI document."""

import asyncio
import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ci_common.access.keys import id_in
from ci_common.jobs import Job, NewJob
from ci_persistence.stores.access.keys import KeyStore, Rotation
from ci_persistence.stores.jobs import JobStore
from ci_server.streaming import job_feed
from tests.helpers.installation import ROOT
from tests.helpers.keys import stored_key
from tests.helpers.played_api import Api, StartApi

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "25")
"""Requests for each operation, and sequences of requests."""
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
"""Fixed, so that a run says the same of the same code; another one finds other things."""


_CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 414, 415, 422, 429, "5xx"]
"""
"""A query that is too long for its schema can be too long for a URL."""


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
    monkeypatch.setattr(job_feed, "PING_SECONDS", 0.1)
    monkeypatch.setattr(job_feed, "LONGEST_SECONDS", 0.1)  # The stream of changes has no end of its own.
    return api


@pytest.fixture
async def key(busy_api: Api, monkeypatch: pytest.MonkeyPatch) -> str:
    """An administrator's key, which stays valid whatever is sent."""
    text = await stored_key(busy_api.controller.storage)
    own, revoke, rotate = id_in(text), KeyStore.revoke, KeyStore.rotate

    async def revoke_others(self: KeyStore, key_id: str, now: datetime) -> bool:
        return key_id == own or await revoke(self, key_id, now)

    async def rotate_others(self: KeyStore, key_id: str, rotation: Rotation) -> bool:
        return key_id == own or await rotate(self, key_id, rotation)

    monkeypatch.setattr(KeyStore, "revoke", revoke_others)
    monkeypatch.setattr(KeyStore, "rotate", rotate_others)
    return text


@pytest.mark.timeout(1200)
async def test_schemathesis_finds_nothing_without_keys(busy_api: Api, tmp_path: Path) -> None:
    await _finds_nothing(busy_api, tmp_path)


@pytest.mark.timeout(1200)
async def test_schemathesis_finds_nothing_with_keys(busy_api: Api, key: str, tmp_path: Path) -> None:
    """Also that no operation that needs a key answers without a valid one."""
    await _finds_nothing(busy_api, tmp_path, f"[auth.openapi.key]\nbearer = {json.dumps(key)}\n")


async def _finds_nothing(busy_api: Api, tmp_path: Path, config: str = "") -> None:
    """Run all checks: statuses, bodies and headers of answers, what is accepted and refused, and what follows what."""
    (tmp_path / "schemathesis.toml").write_text(config + _CONFIG)
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
