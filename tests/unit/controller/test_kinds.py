"""Questions for the kinds of waiting workloads: few, and none is asked before the job that it is for is stored."""

import asyncio
from typing import Any

import pytest

from ci_common.errors import RuntimeUnavailable
from ci_common.jobs import Job, new_job_id
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.times import utc_now
from ci_controller.scheduling.profiles import Kinds


class Engine:
    """Says which image has a name, and counts how often it was asked."""

    def __init__(self) -> None:
        self.image = "old"
        self.questions = 0
        self.fault: Exception | None = None

    async def kind_of(self, plan: ExecutionPlan) -> str | None:
        self.questions += 1
        image = self.image
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return f"{image} of {plan.image}"


def plan_of(image: str = "here", **more: Any) -> ExecutionPlan:
    return ExecutionPlan(image=image, steps=(PlannedStep(name="it", argv=("true",)),), timeout=60, **more)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def kinds(engine: Engine) -> Kinds:
    return Kinds(engine.kind_of)


def stored(plan: ExecutionPlan | None) -> Job:
    dumped: dict[str, Any] | None = None if plan is None else plan.model_dump(mode="json")
    return Job(id=new_job_id(), type="container", submit_time=utc_now(), payload={}, plan=dumped)


async def test_jobs_that_are_alike_share_a_question(engine: Engine, kinds: Kinds) -> None:
    one, other = plan_of(env={"A": "b"}), plan_of(env={"A": "c"})
    assert await asyncio.gather(kinds.of(one), kinds.of(other)) == [f"old of {one.image}"] * 2
    assert await kinds.of(plan_of(image="another")) == "old of another"
    assert engine.questions == 2
    kinds.forget()
    engine.image = "new"
    assert await kinds.of(one) == f"new of {one.image}"


async def test_what_was_asked_ahead_is_not_asked_again(engine: Engine, kinds: Kinds) -> None:
    plan = plan_of()
    kinds.expect(stored(plan))
    await asyncio.sleep(0)
    assert engine.questions == 1
    assert await kinds.of(plan) == f"old of {plan.image}"
    assert engine.questions == 1


async def test_no_job_gets_what_was_asked_before_it_was_stored(engine: Engine, kinds: Kinds) -> None:
    plan = plan_of()
    kinds.expect(stored(plan))
    await asyncio.sleep(0)
    engine.image = "new"
    kinds.expect(stored(plan))
    assert await kinds.of(plan) == f"new of {plan.image}"


async def test_an_engine_that_does_not_answer_names_none(engine: Engine, kinds: Kinds) -> None:
    engine.fault = RuntimeUnavailable("gone")
    kinds.expect(stored(plan_of()))
    assert await kinds.of(plan_of()) is None


async def test_a_job_without_a_plan_needs_none(engine: Engine, kinds: Kinds) -> None:
    kinds.expect(stored(None))
    await asyncio.sleep(0)
    assert engine.questions == 0
