"""Whether a setup makes the same once more: which environment it is compared with, and what is told of it."""

from typing import Any

import pytest

from ci_common.attempts.parts import JobEnvironment
from ci_common.environments import Verification
from ci_common.jobs import Job, Reason, ReasonCode
from ci_common.runtime_faults import RuntimeUnavailable, SetupFailed, StartFault
from ci_common.spec import ExecutionPlan
from ci_controller.environments.keys import scope_of
from ci_controller.runtime.protocol import WorkloadKey
from tests.unit.controller.environments.conftest import Bench


def verifying(bench: Bench) -> ExecutionPlan:
    return bench.plan(verifies=True)


async def ended(bench: Bench, code: int = 0) -> Job:
    """Return a job that verifies the environment, and whose code has ended."""
    job = await bench.started(verifying(bench))
    running = await bench.run(job)
    run = bench.data.run_of(running)
    run.exit.write_text(f"{code}\n")
    assert run.read_exit() is not None
    return running


async def verified(bench: Bench, job: Job) -> Any:
    found = await bench.environments.verify(job, verifying(bench), WorkloadKey.of(job), bench.data.run_of(job))
    return None if found is None else Verification.model_validate_json(found)


async def test_the_environment_that_jobs_start_from_is_verified(bench: Bench) -> None:
    made = await bench.prepared(bench.plan())
    job = await bench.started(verifying(bench))
    assert job.environment is not None
    assert (job.environment.key, job.environment.hit) == (made.key, False)
    assert job.environment.reference == "sha256:1"
    start = bench.environments.start_of(job, verifying(bench))
    assert (start.skipped, start.reference, start.is_apart) == (0, None, True)
    assert start.downloads == bench.data.downloads / scope_of(job)


async def test_what_it_makes_is_not_kept(bench: Bench) -> None:
    await bench.prepared(bench.plan())
    job = await bench.started(verifying(bench))
    await bench.run(job)
    await bench.turn()
    assert len(bench.maker.made) == 1


async def test_it_waits_for_an_environment_that_is_to_be_made(bench: Bench) -> None:
    first = await bench.started(bench.plan())
    choice = await bench.choice(verifying(bench))
    assert isinstance(choice, Reason)
    assert choice.code is ReasonCode.PREPARING_ENVIRONMENT
    await bench.run(first)
    await bench.turn()
    choice = await bench.choice(verifying(bench))
    assert isinstance(choice, JobEnvironment)
    assert choice.reference == "sha256:1"


@pytest.mark.parametrize(("fault", "why"), [(SetupFailed("it fails apart"), "it fails apart"), (None, "none is kept")])
async def test_without_an_environment_it_says_why(bench: Bench, fault: Exception | None, why: str) -> None:
    bench.environments.builds._resumed.set()
    if fault is not None:
        bench.maker.fault = fault
        await bench.prepared(bench.plan())
    job = await bench.started(verifying(bench))
    with pytest.raises(StartFault, match=why):
        bench.environments.start_of(job, verifying(bench))


@pytest.mark.parametrize("different", [0, 3])
async def test_the_result_says_what_differs(bench: Bench, different: int) -> None:
    made = await bench.prepared(bench.plan())
    bench.maker.different = different
    found = await verified(bench, await ended(bench))
    assert (found.environment, found.same, found.comparison.different) == (made.key, different == 0, different)


async def test_the_result_says_that_nothing_can_be_compared(bench: Bench) -> None:
    await bench.prepared(bench.plan())
    job = await ended(bench)
    bench.maker.fault = SetupFailed("too many files")
    found = await verified(bench, job)
    assert (found.same, found.message, found.comparison) == (None, "too many files", None)
    bench.maker.fault = RuntimeUnavailable("no answer")
    with pytest.raises(RuntimeUnavailable):
        await verified(bench, job)


async def test_a_setup_that_fails_is_not_compared(bench: Bench) -> None:
    await bench.prepared(bench.plan())
    assert await verified(bench, await ended(bench, code=1)) is None


async def test_other_jobs_have_no_such_result(bench: Bench) -> None:
    await bench.prepared(bench.plan())
    job = await ended(bench)
    plan = bench.plan()
    assert await bench.environments.verify(job, plan, WorkloadKey.of(job), bench.data.run_of(job)) is None
