"""Rows with which the controller itself goes wrong: they end, and stop neither the queue nor the list."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_controller.supervision.supervisors import MOST_FAILURES
from ci_persistence.job_lists import JobFilter
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation, completed

pytestmark = ON_BOTH


@pytest.fixture
def installation(installation: Installation) -> Installation:
    settings = {"CI_RECONCILE_INTERVAL": "0.1", "MAX_CONCURRENCY": "1"}
    return replace(installation, environment={**installation.environment, **settings})


POISONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no plan of this version": lambda plan: {"steps": "of another kind"},
    "an empty plan": lambda plan: {},
}


async def test_a_job_whose_script_cannot_be_written_ends(installation: Installation) -> None:
    async with installation.storage() as storage:
        job = installation.shell_job("echo never")
        assert job.plan is not None
        plan = job.plan | {"steps": [step | {"shell": "\ud800"} for step in job.plan["steps"]]}
        poisoned = await storage.jobs.add(replace(job, plan=plan), max_queued=100)
        good = await installation.submit("echo good")
        async with installation.controller():
            assert (await completed(storage, good.id)).conclusion is Conclusion.SUCCEEDED
            ended = await completed(storage, poisoned.id)
            assert ended.conclusion is Conclusion.ERRORED
            assert ended.reason is not None
            assert ended.reason.code is ReasonCode.START_FAILED


@pytest.mark.parametrize("poison", POISONS)
async def test_a_job_that_the_controller_fails_at_ends(
    installation: Installation, poison: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with installation.storage() as storage:
        jobs = []
        for _ in range(2):
            job = installation.shell_job("echo never")
            assert job.plan is not None
            jobs.append(await storage.jobs.add(replace(job, plan=POISONS[poison](job.plan)), max_queued=100))
        good = await installation.submit("echo good")
        async with installation.controller():
            assert (await completed(storage, good.id)).conclusion is Conclusion.SUCCEEDED
            for job in jobs:
                ended = await completed(storage, job.id)
                assert ended.conclusion is Conclusion.ERRORED
                assert ended.reason is not None
                assert ended.reason.code is ReasonCode.INTERNAL_ERROR
                error_id = re.search(r"[0-9a-f]{32}", ended.reason.message)
                assert error_id
                said = [record for record in caplog.records if job.id in record.getMessage() and record.exc_info]
                assert len(said) == MOST_FAILURES
                assert error_id[0] in said[-1].getMessage(), "the report names the stack trace"


async def test_a_job_of_a_type_that_is_not_registered_ends(installation: Installation) -> None:
    async with installation.storage() as storage:
        unknown = replace(installation.shell_job("echo never"), type="of.another.version", plan=None, image=None)
        await storage.jobs.add(unknown, max_queued=100)
        good = await installation.submit("echo good")
        async with installation.controller():
            assert (await completed(storage, good.id)).conclusion is Conclusion.SUCCEEDED
            ended = await completed(storage, unknown.id)
            assert ended.conclusion is Conclusion.ERRORED
            assert ended.reason is not None
            assert ended.reason.code is ReasonCode.INTERNAL_ERROR


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs SET reason_code = 'of_another_version', reason_message = 'x' WHERE id = :id",
        "UPDATE jobs SET not_before = 4611686018427387904 WHERE id = :id",
        """INSERT INTO attempts (job_id, number, trace) VALUES (:id, 1, '{"starting": "soon"}')""",
        """INSERT INTO attempts (job_id, number) VALUES (:id, 1);
        INSERT INTO steps (job_id, attempt, position, name, status, start_time, log_offset)
        VALUES (:id, 1, 0, 'of another version', 'running', 4611686018427387904, 0)""",
    ],
)
async def test_a_row_that_cannot_be_read_whole_hides_no_other(installation: Installation, change: str) -> None:
    poisoned, good = await installation.submit("echo odd"), await installation.submit("echo good")
    await installation.execute(*change.split(";"), id=poisoned.id)
    async with installation.storage() as storage:
        listed = {job.id: job for job in await storage.jobs.list_jobs(JobFilter(), limit=10)}
        assert listed.keys() == {poisoned.id, good.id}
        async with installation.controller():
            assert (await completed(storage, good.id)).conclusion is Conclusion.SUCCEEDED
            odd: Job = await completed(storage, poisoned.id)
            assert odd.state is State.COMPLETED
