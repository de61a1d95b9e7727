"""`ci selftest`: a short run with every fault, one that finds a sabotaged server, and what is left when it is ended."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ci_common.settings import Settings
from ci_selftest.jobs.evidence import Promise
from ci_selftest.owned import remove_abandoned
from ci_selftest.run import Options, Run
from ci_selftest.schedule import Fault
from ci_selftest.scratch import Scratch, processes_of
from tests.chaos import options_on
from tests.helpers.installation import ROOT
from tests.helpers.postgresql.server import running_server
from tests.helpers.service import containers
from tests.helpers.waiting import eventually

SEED = 42
OF_SERVERS = {
    *(Fault.CUT_API, Fault.CUT_LEADER, Fault.HOLD_API, Fault.HOLD_LEADER, Fault.LOSE_COMMIT, Fault.END_SESSIONS),
    *(Fault.KILL_SERVER, Fault.ABORT_SERVER, Fault.RESTART_SERVER),
}
OF_CONTAINERS = {Fault.KILL_SERVICE, Fault.KILL_SETUP}


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Where the command makes its scratch directory."""
    return tmp_path / "ci-server" / "selftest"


def command(tmp_path: Path, runtime: str, image: str, *options: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "ci_cli", "selftest", "--json", "--runtime", runtime, "--image", image, *options]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe, text=True)


async def test_a_short_run_with_every_fault_breaks_no_promise(
    tmp_path: Path, parent: Path, runtime: str, shell_image: str
) -> None:
    run = command(tmp_path, runtime, shell_image, "--chaos", "--minutes", "0.3", "--seed", str(SEED))
    said, progress = await asyncio.to_thread(run.communicate, timeout=280)
    assert said, progress
    outcome = json.loads(said)
    assert outcome["violations"] == [], f"seed {SEED}: {json.dumps(outcome, indent=1)}\n{story_of(outcome)}"
    assert run.returncode == 0
    assert set(outcome["broken"].values()) == {0}
    assert set(outcome["faults"]) | set(outcome["missed"]) == set(Fault) - OF_SERVERS - (
        set() if runtime == "docker" else OF_CONTAINERS
    )
    assert outcome["jobs"]
    assert "faults" in progress
    assert list(parent.iterdir()) == []


async def test_a_server_may_be_cut_off_and_killed(parent: Path) -> None:
    with running_server(durable=True) as server:
        outcome = await Run(options_on(server, parent, "process", seconds=20, seed=SEED)).execute()
    assert outcome.violations == [], f"{outcome.table()}\n{story_of(outcome.to_json())}"
    assert set(outcome.faults) | set(outcome.missed) == set(Fault) - OF_CONTAINERS
    assert outcome.faults.keys() >= OF_SERVERS - {Fault.LOSE_COMMIT}
    assert list(parent.iterdir()) == []


def story_of(outcome: dict[str, Any]) -> str:
    """Return what happened in a run that broke a promise, one fault or violation in a line."""
    return (Path(outcome["kept"]) / "logs" / "selftest.log").read_text()


async def test_a_byte_that_is_lost_on_its_way_is_found(tmp_path: Path, runtime: str, shell_image: str) -> None:
    options = Options(SEED, None, runtime, shell_image, parent=tmp_path / "selftest", relay=losing)
    outcome = await Run(options).execute()
    broken = outcome.broken()
    assert broken[Promise.LOST] > 0
    assert broken[Promise.FORGOTTEN] == broken[Promise.RUN_TWICE] == 0
    assert outcome.kept is not None
    assert (outcome.kept / "logs" / "selftest.log").read_text().count("lost: ") == broken[Promise.LOST]
    assert processes_of(Scratch(outcome.kept)) == []


@asynccontextmanager
async def losing(url: str) -> AsyncIterator[str]:
    """Stand before a server, and lose the first byte of every event of a log, where that is a small letter."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, sabotage: bool) -> None:
        while data := await reader.read(65536):
            writer.write(re.sub(rb'"data":"[a-z]', b'"data": "', data) if sabotage else data)
            await writer.drain()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        except OSError:
            writer.transport.abort()
            return
        copies = {asyncio.ensure_future(copy(reader, back, sabotage=False))}
        copies.add(asyncio.ensure_future(copy(there, writer, sabotage=True)))
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in copies:
                one.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            back.transport.abort()
            writer.transport.abort()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
def begun(tmp_path: Path, parent: Path, runtime: str, shell_image: str) -> Iterator[subprocess.Popen[str]]:
    """A run whose jobs run."""
    run = command(tmp_path, runtime, shell_image, "--chaos", "--minutes", "5", "--seed", str(SEED))
    yield run
    if run.poll() is None:
        run.kill()
    run.communicate()


async def runs_jobs(parent: Path) -> Scratch:
    """Return the scratch directory of the run once some of its jobs have begun."""

    def look() -> Scratch | None:
        for scratch in map(Scratch, parent.glob("run-*")):
            if len(list(scratch.data.jobs.glob("*/1/started"))) > 1:
                return scratch
        return None

    found = await eventually(look, "jobs run")
    assert found is not None
    return found


def left_of(scratch: Scratch, runtime: str) -> list[str]:
    return containers(scratch.container_prefix) if runtime == "docker" else [str(p) for p in processes_of(scratch)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_it_leaves_nothing(
    begun: subprocess.Popen[str], parent: Path, runtime: str, number: signal.Signals
) -> None:
    scratch = await runs_jobs(parent)
    begun.send_signal(number)
    begun.send_signal(number)
    assert await asyncio.to_thread(begun.wait, 60) == 130
    assert left_of(scratch, runtime) == []
    assert processes_of(scratch) == []
    assert list(parent.iterdir()) == []


async def test_what_a_run_leaves_that_is_killed_the_next_one_removes(
    begun: subprocess.Popen[str], parent: Path, runtime: str
) -> None:
    scratch = await runs_jobs(parent)
    begun.kill()
    await asyncio.to_thread(begun.wait, 60)
    assert processes_of(scratch), "server and controllers do not know that their run has gone"
    assert await remove_abandoned(parent, Settings.from_env()) == [str(scratch.path)]
    assert left_of(scratch, runtime) == []
    assert processes_of(scratch) == []
    assert list(parent.iterdir()) == []
