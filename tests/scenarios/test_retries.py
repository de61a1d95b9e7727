"""Attempts of one job: as many as were asked for and no more, whatever dies; each with its own log and workspace."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.jobs import Attempt, Conclusion, Job, NewJob, ReasonCode, State
from ci_common.run_directory.layout import KEPT
from ci_common.spec import Retry
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_controller.runtime.protocol import Runtime, WorkloadKey
from ci_persistence.storage import Storage
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation, completed
from tests.helpers.service import zipped
from tests.helpers.waiting import eventually

pytestmark = ON_BOTH
SOON: dict[str, Any] = {"backoff": 0.05}
TWICE = Retry(max_attempts=2, **SOON)
POINTS = [
    f"{call}/{moment}"
    for call in (
        "update/3",
        "clear/1",
        "delete_tree/1",
        "remove/1",
        "update/4",
        "create/2",
        "start/2",
        "update/5",
        "update/6",
    )
    for moment in ("before", "after")
]
"""update/3 queues the second attempt, clear/1 to remove/1 clear the first; update/4 writes STARTING again, update/5
RUNNING, update/6 COMPLETED."""


def of_attempts(job: Job) -> list[Job]:
    return [job.as_of(number + 1) for number in range(job.attempt)]


async def cleared(installation: Installation, job: Job, runtime: Runtime) -> None:
    """Wait until nothing but the logs is left of any attempt."""

    async def nothing_listed() -> bool:
        return await runtime.list_workloads() == []

    await eventually(nothing_listed, "no workload is left")
    for attempt in of_attempts(job):
        await eventually(
            lambda of=attempt: installation.files_left(of) <= KEPT, "nothing but its log and its records is left"
        )


@pytest.mark.parametrize("point", POINTS)
async def test_two_attempts_survive_their_controller(installation: Installation, point: str) -> None:
    job = await installation.submit("echo run; exit 5", retry=TWICE)
    crashed = installation.start_crashing_controller(point)
    assert await asyncio.to_thread(crashed.wait, 60) == -9, "the controller dies at this point"

    async with installation.storage() as storage, installation.controller() as parts:
        ended = await completed(storage, job.id)
        assert (ended.attempt, ended.conclusion, ended.exit_code) == (2, Conclusion.FAILED, 5)
        for attempt in of_attempts(ended):
            assert (attempt.conclusion, attempt.exit_code) == (Conclusion.FAILED, 5)
            assert installation.log_of(attempt) == b"run\n", "each attempt ran once"
            assert attempt.log_sha256 == hashlib.sha256(b"run\n").hexdigest()
            assert attempt.runtime == installation.runtime
            assert [step.exit_code for step in attempt.steps] == [5]
            assert attempt.start_time <= attempt.end_time  # type: ignore[operator]
        await cleared(installation, ended, parts.runtimes[installation.runtime])


async def with_upload(installation: Installation, job: NewJob, **files: str) -> None:
    """Store a job that comes with a project, as the API would."""
    workspace = installation.data.run(job.id, 1).workspace
    workspace.mkdir(parents=True)
    for name, content in files.items():
        (workspace / name).write_text(content)
    installation.data.upload(job.id).write_bytes(zipped(files))
    async with installation.storage() as storage:
        await storage.jobs.add(job, max_queued=10)


async def attempt_is(storage: Storage, job: Job, number: int, *states: State) -> Job:
    """Return the job once that attempt of it is in one of `states`."""

    async def look() -> Job | None:
        seen = await storage.jobs.get(job.id)
        return seen if (seen.attempt, seen.state) in [(number, state) for state in states] else None

    found = await eventually(look, f"attempt {number} is {states}")
    assert found is not None
    return found


async def test_every_attempt_finds_the_project_as_it_was_uploaded(installation: Installation) -> None:
    shell = "cat data; rm data; test ! -e used || exit 99; touch used; exit 3"
    job = installation.shell_job(shell, retry=Retry(max_attempts=3, **SOON), has_upload=True)
    await with_upload(installation, job, data="fresh")
    async with installation.storage() as storage, installation.controller() as parts:
        ended = await completed(storage, job.id)
        assert [attempt.exit_code for attempt in of_attempts(ended)] == [3, 3, 3]
        assert [installation.log_of(attempt) for attempt in of_attempts(ended)] == [b"fresh"] * 3
        await cleared(installation, ended, parts.runtimes[installation.runtime])


async def test_an_upload_that_is_gone_is_told_of(installation: Installation) -> None:
    job = installation.shell_job("exit 3", retry=Retry(max_attempts=3, **SOON), has_upload=True)
    await with_upload(installation, job, data="fresh")
    installation.data.upload(job.id).unlink()
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
    conclusions = [attempt.conclusion for attempt in of_attempts(ended)]
    assert conclusions == [Conclusion.FAILED, Conclusion.ERRORED, Conclusion.ERRORED]
    assert ended.reason is not None
    assert "what was uploaded is gone" in ended.reason.message


async def test_the_first_success_is_the_last_attempt(installation: Installation) -> None:
    shell = "while [ ! -e verdict ]; do sleep 0.02; done; exit $(cat verdict)"
    job = await installation.submit(shell, retry=Retry(max_attempts=9, **SOON))
    async with installation.storage() as storage, installation.controller():
        for number, verdict in enumerate(("7", "0"), start=1):
            await attempt_is(storage, job, number, State.RUNNING)
            workspace = installation.data.run(job.id, number).workspace
            (workspace / "draft").write_text(verdict)
            (workspace / "draft").rename(workspace / "verdict")
        ended = await completed(storage, job.id)
    assert [attempt.exit_code for attempt in of_attempts(ended)] == [7, 0]
    assert (ended.conclusion, ended.reason) == (Conclusion.SUCCEEDED, None)


async def test_what_was_removed_from_outside_is_tried_again_where_asked_for(installation: Installation) -> None:
    shell = "echo up; while :; do sleep 0.05; done"
    asked = await installation.submit(shell, retry=Retry(max_attempts=2, on=["errored"], **SOON))
    not_asked = await installation.submit(shell, retry=Retry(max_attempts=2, on=["failed", "timed_out"], **SOON))
    async with installation.storage() as storage, installation.controller() as parts:
        runtime = parts.runtimes[installation.runtime]
        for job, number in ((not_asked, 1), (asked, 1), (asked, 2)):
            await attempt_is(storage, job, number, State.RUNNING)
            run = installation.data.run(job.id, number)
            await eventually(lambda run=run: run.log_size() > 0, "its code runs")
            await runtime.remove(WorkloadKey(job.id, number))
        ended = [await completed(storage, job.id) for job in (asked, not_asked)]
    assert [job.attempt for job in ended] == [2, 1]
    for attempt in (*of_attempts(ended[0]), ended[1]):
        assert attempt.reason is not None
        assert (attempt.conclusion, attempt.reason.code) == (Conclusion.ERRORED, ReasonCode.CONTAINER_LOST)
        assert installation.log_of(attempt) == b"up\n"


async def test_the_timeout_is_each_attempts_own(installation: Installation) -> None:
    job = await installation.submit("while :; do sleep 0.05; done", timeout=0.5, retry=TWICE)
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
    first, second = of_attempts(ended)
    for attempt in (first, second):
        assert attempt.conclusion is Conclusion.TIMED_OUT
        assert attempt.start_time is not None
        assert attempt.end_time is not None
        assert (attempt.end_time - attempt.start_time).total_seconds() >= 0.5
    assert first.end_time < second.start_time  # type: ignore[operator]


async def test_while_a_job_backs_off_its_slot_is_free_and_a_cancel_ends_it(installation: Installation) -> None:
    one_slot = replace(installation, environment={**installation.environment, "MAX_CONCURRENCY": "1"})
    job = await one_slot.submit("echo run; exit 5", retry=Retry(max_attempts=3, backoff=3600, max_backoff=3600))
    other = await one_slot.submit("echo other")
    async with one_slot.storage() as storage, one_slot.controller() as parts:
        assert (await completed(storage, other.id)).conclusion is Conclusion.SUCCEEDED
        waiting = await attempt_is(storage, job, 2, State.QUEUED)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.BACKING_OFF
        assert "attempt 2 of 3 begins in" in waiting.reason.message
        assert "exit code 5" in waiting.reason.message
        assert waiting.not_before is not None
        pause = (waiting.not_before - waiting.earlier_attempts[0].end_time).total_seconds()
        assert 1800 <= pause <= 3600
        await cleared(one_slot, waiting.as_of(1), parts.runtimes[installation.runtime])
        await storage.jobs.request_cancel(job.id, utc_now())
        ended = await completed(storage, job.id)
    assert (ended.conclusion, ended.attempt, ended.exit_code) == (Conclusion.CANCELLED, 2, None)
    assert (ended.start_time, ended.not_before, ended.log_bytes) == (None, None, 0)
    assert one_slot.log_of(ended.as_of(1)) == b"run\n"


async def test_a_job_that_backs_off_starts_then_and_not_at_the_next_look(installation: Installation) -> None:
    """By a controller that never saw its first attempt, and that nothing else wakes."""
    quiet = {**installation.environment, "CI_RECONCILE_INTERVAL": "120", "CI_LEASE_SECONDS": "600"}
    installation = replace(installation, environment=quiet)
    job = await installation.submit("true", retry=Retry(max_attempts=2, backoff=60))
    async with installation.storage() as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        job = await storage.jobs.update(job, lease, state=State.STARTING)
        ended = Attempt(number=1, conclusion=Conclusion.ERRORED, end_time=utc_now(), runtime=installation.runtime)
        then = utc_now() + timedelta(seconds=4)
        requeued: dict[str, Any] = {
            "state": State.QUEUED,
            "attempt": 2,
            "earlier_attempts": (ended,),
            "not_before": then,
        }
        await storage.jobs.update(job, lease, **requeued)
        await storage.leases.release(lease)
        async with installation.controller():
            again = await attempt_is(storage, job, 2, State.RUNNING, State.COMPLETED)
            assert again.start_time is not None
            assert again.start_time >= then
            assert again.not_before is None


@pytest.mark.parametrize("point", ["update/3/before", "update/3/after"])
async def test_a_cancel_meets_a_controller_that_dies_at_the_requeue(installation: Installation, point: str) -> None:
    """Before the write, the cancel is there when the end of the attempt is seen; after it, while the job backs off."""
    job = await installation.submit("echo run; exit 5", retry=Retry(max_attempts=3, backoff=3600, max_backoff=3600))
    crashed = installation.start_crashing_controller(point)
    assert await asyncio.to_thread(crashed.wait, 60) == -9
    async with installation.storage() as storage:
        await storage.jobs.request_cancel(job.id, utc_now())
        async with installation.controller() as parts:
            ended = await completed(storage, job.id)
            await cleared(installation, ended, parts.runtimes[installation.runtime])
    assert [attempt.conclusion for attempt in of_attempts(ended)] == (
        [Conclusion.FAILED] if point.endswith("before") else [Conclusion.FAILED, Conclusion.CANCELLED]
    )
    assert installation.log_of(ended.as_of(1)) == b"run\n"
