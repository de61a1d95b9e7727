"""Which kind of waiting workload a job can take: each question to the engine takes milliseconds."""

import asyncio
from collections.abc import Awaitable, Callable

from pydantic import ValidationError

from ci_common.errors import RuntimeUnavailable
from ci_common.jobs import Job
from ci_common.spec import ExecutionPlan

KindOf = Callable[[ExecutionPlan], Awaitable[str | None]]


class Kinds:
    """Asks once for all jobs of one turn that are alike, and ahead for a job that has just been queued.

    What is answered was asked after the job was stored: an image that got its name before that is the one it runs in.
    """

    def __init__(self, kind_of: KindOf) -> None:
        """`kind_of` asks, and may raise RuntimeUnavailable; see `ci_controller.pool.Pool.kind_of`."""
        self._kind_of = kind_of
        self._asked: dict[str, asyncio.Task[str | None]] = {}

    def expect(self, job: Job) -> None:
        """Ask for a job that has just been stored, while the queue is still to be read."""
        if job.plan is None:
            return
        try:
            plan = ExecutionPlan.model_validate(job.plan)
        except ValidationError:
            return  # The start of the job meets that, and ends it.
        if self._asked.pop(_key(plan), None) is None:  # What was asked for another one was asked too early for this.
            self._ask(plan)

    async def of(self, plan: ExecutionPlan) -> str | None:
        """Return the kind that a job of this plan can take; None where none can wait for it, or nobody can tell."""
        asked = self._asked.get(_key(plan)) or self._ask(plan)
        return await asyncio.shield(asked)

    def forget(self) -> None:
        """End a turn: whatever comes is asked anew."""
        self._asked.clear()

    def _ask(self, plan: ExecutionPlan) -> "asyncio.Task[str | None]":
        asked = self._asked[_key(plan)] = asyncio.create_task(self._answer(plan), name=f"kind for {plan.image}")
        return asked

    async def _answer(self, plan: ExecutionPlan) -> str | None:
        try:
            return await self._kind_of(plan)
        except RuntimeUnavailable:
            return None


def _key(plan: ExecutionPlan) -> str:
    """Return all of a plan that its kind follows from."""
    return plan.model_dump_json(include={"image", "limits", "network"})
