"""Who starts, who waits and why; on the real repository, with pulls that the test controls."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from ci_common.errors import ImageNotFound, Unavailable
from ci_common.jobs import Attempt, Conclusion, Job, NewJob, ReasonCode, StartWay, State, new_job_id
from ci_common.spec import ExecutionPlan, Retry
from ci_common.system.disk import Disk
from ci_common.times import utc_now
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import Runtime
from ci_controller.scheduling.images import Images
from ci_controller.scheduling.profiles import Kinds
from ci_controller.scheduling.scheduler import Scheduler
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.disks import PlayedUsage
from tests.helpers.leading import leading
from tests.helpers.runtimes import ScriptedImages
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually


class Retried(BuiltinExecution):
    """What carries out jobs whose policy lets them back off for ten seconds."""

    def retry_of(self, job: Job) -> Retry | None:  # type: ignore[override]
        return Retry(max_attempts=2, backoff=10)


class PlayedPool:
    """A pool that gives away what the test puts into it, and notes what becomes of that."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.settled: list[str] = []
        self.kind: str | None = "kind"
        self.asked: Callable[[], Awaitable[object]] | None = None
        """What happens to the database while the pool is asked."""

    async def kind_of(self, plan: ExecutionPlan) -> str | None:
        if self.asked:
            await self.asked()
        return self.kind

    def take(self, kind: str, plan: ExecutionPlan) -> str | None:
        return self.waiting.pop() if self.waiting else None

    def settle(self, workload: str) -> None:
        self.settled.append(workload)

    def give_back(self, workload: str) -> None:
        self.waiting.append(workload)


class Queue:
    """A queue with two slots."""

    def __init__(self, repository: SQLiteJobRepository, writer: JobWriter) -> None:
        self.repository = repository
        self.writer = writer
        self.runtime = ScriptedImages("here")
        self.images = Images(cast(Runtime, self.runtime), lambda: None)
        execution = Retried(utc_now)
        self.free = 1000
        disk = Disk([Path()], min_free_bytes=100, min_free_percent=100, usage=lambda _: PlayedUsage(1000, self.free))
        self.pool = PlayedPool()
        kinds = Kinds(self.pool.kind_of)
        self.scheduler = Scheduler(writer, self.images, lambda _: execution, 2, disk, self.pool, kinds)

    async def add(self, image: str | None = "here", **more: Any) -> str:
        job = NewJob(id=new_job_id(), type="container", submit_time=utc_now(), image=image, **more)
        await self.repository.add(job, max_queued=100)
        return job.id

    async def turn(self, active: int = 0) -> list[str]:
        left = await self.scheduler.turn(await self.repository.queued(), active)
        return [job.id for job in left if job.state is State.STARTING]

    async def job(self, job_id: str) -> Job:
        return await self.repository.get(job_id)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    async with leading(tmp_path) as (repository, lease):
        made = Queue(repository, JobWriter(repository, lease, utc_now))
        yield made
        await made.images.close()


async def test_jobs_start_in_order_as_far_as_slots_go(queue: Queue) -> None:
    low, first, second, high = [await queue.add(priority=priority) for priority in (-1, 0, 0, 7)]
    assert await queue.turn() == [high, first]
    waiting = await queue.job(second)
    assert waiting.reason is not None
    assert waiting.reason.code is ReasonCode.WAITING_FOR_SLOT
    assert await queue.turn(active=2) == []
    assert await queue.turn(active=1) == [second]
    assert await queue.turn(active=1) == [low]


async def test_a_pull_delays_nobody_else(queue: Queue) -> None:
    far = await queue.add("far", priority=9)
    near = await queue.add("here")
    assert await queue.turn() == [near]
    assert (await queue.job(far)).reason.code is ReasonCode.PULLING_IMAGE  # type: ignore[union-attr]
    await queue.runtime.pulling("far")
    queue.runtime.say("far", "3 of 4 MB")
    await queue.turn(active=1)
    assert (await queue.job(far)).reason.message == "pulling far: 3 of 4 MB"  # type: ignore[union-attr]


async def test_an_image_that_is_not_to_be_had_ends_its_jobs(queue: Queue) -> None:
    wrong = await queue.add("wrong")
    await queue.turn()
    await queue.runtime.pulling("wrong")
    queue.runtime.finish("wrong", ImageNotFound("no such image: wrong"))
    await eventually(lambda: queue.runtime.ended["wrong"], "the pull has ended")
    await queue.turn()
    job = await queue.job(wrong)
    assert (job.state, job.conclusion, job.error) == (State.COMPLETED, Conclusion.ERRORED, "no such image: wrong")


async def test_a_cancelled_job_leaves_the_queue_and_ends_its_pull(queue: Queue) -> None:
    far = await queue.add("far")
    await queue.turn()
    await queue.runtime.pulling("far")
    await queue.repository.request_cancel(far, utc_now())
    assert await queue.turn() == []
    assert (await queue.job(far)).conclusion is Conclusion.CANCELLED
    await queue.images.close()
    assert queue.runtime.ended == {"far": 1}


async def test_a_reason_is_written_once(queue: Queue) -> None:
    waiting = await queue.add()
    await queue.turn(active=2)
    version = (await queue.job(waiting)).version
    await queue.turn(active=2)
    assert (await queue.job(waiting)).version == version


async def test_jobs_wait_for_room_on_the_disk(queue: Queue) -> None:
    queue.free = 99  # Submissions are refused, but what is here already may run and so make room.
    assert len([await queue.add() for _ in range(1)]) == len(await queue.turn())
    queue.free = 49
    held, builtin = await queue.add("absent"), await queue.add(image=None)
    assert await queue.turn() == [builtin]
    job = await queue.job(held)
    assert job.reason is not None
    assert job.reason.code is ReasonCode.WAITING_FOR_DISK
    assert "less than 50 bytes" in job.reason.message
    assert not queue.runtime.pulls, "an image takes room, too"
    queue.free = 48
    await queue.turn()
    assert (await queue.job(held)).version == job.version, "nothing is written that only repeats itself"
    queue.free = 50
    await queue.turn()
    await queue.runtime.pulling("absent")


@pytest.mark.parametrize(("seconds", "starts"), [(-1, True), (9, False), (3600, True)])
async def test_a_job_that_backs_off_starts_when_its_time_has_come(queue: Queue, seconds: float, starts: bool) -> None:
    """Or at once, where the clock must have been set back since: no pause of its policy is so long."""
    job_id = await queue.add(max_attempts=2)
    await queue.turn()
    ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=utc_now())
    not_before = utc_now() + timedelta(seconds=seconds)
    anew: dict[str, Any] = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (ended,), "runtime": None}
    await queue.writer.write(await queue.job(job_id), **anew, not_before=not_before)
    other = await queue.add()
    assert await queue.turn() == ([job_id, other] if starts else [other])
    assert (await queue.job(job_id)).not_before == (None if starts else not_before)


PLAN = plan_of(*shell_steps("true")).model_dump(mode="json")


async def test_a_job_takes_what_waits_for_it(queue: Queue) -> None:
    queue.pool.waiting = ["w1"]
    first, second = [await queue.add(plan=PLAN) for _ in range(2)]
    assert await queue.turn() == [first, second]
    ways = [(job.start_way, job.workload) for job in (await queue.job(first), await queue.job(second))]
    assert ways == [(StartWay.WARM, "w1"), (StartWay.COLD, None)]
    assert queue.pool.settled == ["w1"]


async def test_a_job_whose_image_was_pulled_says_so(queue: Queue) -> None:
    job_id = await queue.add(image="far", plan=PLAN)
    queue.pool.kind = None  # As long as the image is not there.
    await queue.turn()
    await queue.runtime.pulling("far")
    queue.runtime.finish("far")
    await eventually(lambda: "far" in queue.runtime.present, "it is pulled")
    await eventually(lambda: queue.turn(), "the job starts")
    assert (await queue.job(job_id)).start_way is StartWay.PULL


async def test_what_was_taken_for_a_job_that_changed_meanwhile_waits_on(queue: Queue) -> None:
    queue.pool.waiting = ["w1"]
    job_id = await queue.add(plan=PLAN)

    async def overtake() -> None:
        await queue.writer.write(await queue.job(job_id), not_before=utc_now())

    queue.pool.asked = overtake
    assert await queue.turn() == []
    assert (await queue.job(job_id)).workload is None
    assert (queue.pool.waiting, queue.pool.settled) == (["w1"], [])


async def test_nobody_knows_what_became_of_a_start_that_the_database_did_not_answer(queue: Queue) -> None:
    queue.pool.waiting = ["w1"]
    await queue.add(plan=PLAN)
    queue.pool.asked = queue.repository.close
    with pytest.raises(Unavailable):
        await queue.turn()
    assert (queue.pool.waiting, queue.pool.settled) == ([], ["w1"])
