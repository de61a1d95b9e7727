"""The engine goes and comes back while jobs run, start and wait: all of them end, and end truly.

An engine of its own is stopped for this, whose containers go on without it (live-restore) or end with it.
"""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode
from ci_persistence.storage import Storage
from tests.engine import images
from tests.engine.daemon import Daemon, private_daemon
from tests.engine.packages import can_install
from tests.helpers.installation import Installation, completed, installation_of, script_ended
from tests.helpers.waiting import eventually

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not can_install(), reason="needs root on Debian, for an engine"),
]
UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.05; done; exit {code}"

ENDED_BY_THE_ENGINE = {(Conclusion.ERRORED, ReasonCode.CONTAINER_LOST), (Conclusion.FAILED, ReasonCode.EXIT_CODE)}
"""SIGTERM from elsewhere than us is no cancel: a script that lives on to write its exit status has that result."""


@pytest.fixture(scope="module", params=[True, False], ids=["containers_go_on", "containers_end"])
def surviving(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def daemon(surviving: bool) -> Iterator[Daemon]:
    with private_daemon(**{"live-restore": surviving}) as daemon:
        yield daemon


@pytest.fixture
def installation(daemon: Daemon, tmp_path: Path) -> Iterator[Installation]:
    installation = installation_of(tmp_path, "docker", images.busybox_image(daemon.engine))
    yield replace(installation, environment={**installation.environment, "DOCKER_HOST": daemon.engine.url})
    daemon.remove_containers()


def let_go(installation: Installation, job: Job) -> None:
    (installation.data.run(job.id, 1).workspace / "go").touch()


async def waits_for_the_engine(storage: Storage, job: Job) -> bool:
    reason = (await storage.jobs.get(job.id)).reason
    return reason is not None and reason.code is ReasonCode.ENGINE_UNAVAILABLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_jobs_end_truly(
    installation: Installation, daemon: Daemon, surviving: bool, number: signal.Signals
) -> None:
    async with installation.storage() as storage, installation.controller() as parts:
        running = await installation.submit(UNTIL_TOLD.format(code=4), plan={"network": False})
        ending = await installation.submit(UNTIL_TOLD.format(code=5), plan={"network": False})
        for job in (running, ending):
            await eventually(lambda job=job: installation.says(job, b"up\n"), "the job is up")
        starting = await installation.submit("echo started", plan={"network": False})
        await asyncio.to_thread(daemon.stop, number)
        goes_on = surviving or number is signal.SIGKILL  # Then they end when the engine comes back.
        if goes_on:
            let_go(installation, ending)
            await script_ended(installation, storage, ending)
        waiting = await installation.submit("echo waited", plan={"network": False})
        await eventually(lambda: waits_for_the_engine(storage, waiting), "it says what it waits for", timeout=90)
        daemon.launch()
        await asyncio.to_thread(daemon.wait)
        if surviving:
            let_go(installation, running)
        ends = {job.id: await completed(storage, job.id, within=120) for job in (running, ending, starting, waiting)}
        assert installation.log_of(ends[waiting.id]) == b"waited\n"
        assert ends[waiting.id].conclusion is Conclusion.SUCCEEDED
        check(ends[running.id], 4 if surviving else None)
        check(ends[ending.id], 5 if goes_on else None)
        assert (
            ends[starting.id].conclusion is Conclusion.SUCCEEDED or reason_of(ends[starting.id]) in ENDED_BY_THE_ENGINE
        )
        runtime = parts.runtimes["docker"]

        async def nothing_left() -> bool:
            return await runtime.list_workloads() == [] and await storage.queue.active() == []

        await eventually(nothing_left, "no container and no slot is left")


def check(ended: Job, own_code: int | None) -> None:
    """Check the end of a job whose code has ended with `own_code`, or was ended with the engine."""
    if own_code is not None:
        assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, own_code)
    else:
        assert reason_of(ended) in ENDED_BY_THE_ENGINE


def reason_of(ended: Job) -> tuple[Conclusion | None, ReasonCode | None]:
    return ended.conclusion, ended.reason.code if ended.reason else None
