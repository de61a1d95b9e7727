"""Who starts, who waits and why; on the real storage, with pulls that the test controls."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Attempt, Conclusion, Job, NewJob, ReasonCode, State, new_job_id
from ci_common.runtime_faults import ImageNotFound
from ci_common.settings import Settings
from ci_common.sharing.projects import Project, ProjectSettings
from ci_common.spec import Retry
from ci_common.system.disk import Disk
from ci_common.times import utc_now
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.images import Images
from ci_controller.job_writer import JobWriter
from ci_controller.scheduler import Scheduler
from ci_persistence.storage import Storage
from tests.helpers.fake_runtimes import ScriptedImages
from tests.helpers.installation import leading
from tests.helpers.machine import PlayedUsage
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually

PLAN = plan_of(*shell_steps("true")).model_dump(mode="json")


class Queue:
    """A queue with two slots."""

    def __init__(self, storage: Storage, writer: JobWriter) -> None:
        self.storage = storage
        self.writer = writer
        self.runtime = ScriptedImages("here")
        self.images = Images(self.runtime, lambda: None)
        execution = BuiltinExecution(utc_now)
        self.free = 1000
        disk = Disk([Path()], min_free_bytes=100, min_free_percent=100, usage=lambda _: PlayedUsage(1000, self.free))
        self.scheduler = Scheduler(Settings(max_concurrency=2), writer, self.images, lambda _: execution, disk)

    async def add(self, image: str | None = "here", **more: Any) -> str:
        job = NewJob(id=new_job_id(), type="container", submit_time=utc_now(), image=image, **more)
        await self.storage.jobs.add(job, max_queued=100)
        return job.id

    async def turn(self, active: int = 0, of: str | None = None) -> list[str]:
        """Take a turn while so many jobs of a project, by default of one that has no others, hold slots."""
        fields = {"type": "container", "submit_time": utc_now(), "project": of or "elsewhere"}
        holding = [Job(id=new_job_id(), state=State.RUNNING, **fields) for _ in range(active)]  # type: ignore[arg-type]
        left = await self.scheduler.turn(await self.storage.queue.queued(), holding)
        return [job.id for job in left if job.state is State.STARTING]

    async def job(self, job_id: str) -> Job:
        return await self.storage.jobs.get(job_id)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    async with leading(tmp_path) as (storage, lease):
        made = Queue(storage, JobWriter(storage, lease, utc_now))
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
    await queue.storage.jobs.request_cancel(far, utc_now())
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
    retried = PLAN | {"retry": Retry(max_attempts=2, backoff=10).model_dump(mode="json")}
    job_id = await queue.add(max_attempts=2, plan=retried)
    await queue.turn()
    ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=utc_now())
    not_before = utc_now() + timedelta(seconds=seconds)
    requeued: dict[str, Any] = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (ended,), "runtime": None}
    await queue.writer.write(await queue.job(job_id), **requeued, not_before=not_before)
    other = await queue.add()
    assert await queue.turn() == ([job_id, other] if starts else [other])
    assert (await queue.job(job_id)).not_before == (None if starts else not_before)


async def test_how_a_job_starts_is_known_unless_something_waits_for_it(queue: Queue) -> None:
    near, far, computed = (
        await queue.add(plan=PLAN),
        await queue.add(image="far", plan=PLAN),
        await queue.add(image=None),
    )
    await queue.turn()
    await queue.runtime.pulling("far")
    queue.runtime.finish("far")
    await eventually(lambda: "far" in queue.runtime.present, "it is pulled")
    await eventually(lambda: queue.turn(), "the job starts")
    ways = [(await queue.job(job_id)).start_way for job_id in (near, far, computed)]
    assert ways == [StartWay.COLD, StartWay.PULL, None]


async def test_jobs_of_one_turn_share_a_question_for_their_image(queue: Queue) -> None:
    for _ in range(2):
        await queue.add()
    await queue.turn()
    assert queue.runtime.questions == 1


async def test_no_job_gets_an_answer_from_before_it_was_stored(queue: Queue) -> None:
    queue.images.expect("soon")
    await eventually(lambda: queue.runtime.questions == 1, "it is asked for one job")
    queue.runtime.present.add("soon")
    queue.images.expect("soon")
    assert await queue.images.is_ready("soon")


async def test_an_answer_that_was_asked_ahead_is_used(queue: Queue) -> None:
    queue.images.expect("here")
    assert await queue.images.is_ready("here")
    assert queue.runtime.questions == 1


async def test_a_long_queue_of_one_project_starves_no_other(queue: Queue) -> None:
    many = [await queue.add(project="many") for _ in range(5)]
    one = await queue.add(project="one")
    assert await queue.turn() == [many[0], one]
    assert await queue.turn(active=1, of="many") == [many[1]]


async def test_a_job_that_waits_for_its_image_takes_no_turn(queue: Queue) -> None:
    await queue.add("far", project="many")
    near = await queue.add(project="many")
    one = await queue.add(project="one")
    assert await queue.turn() == [near, one]


async def test_of_a_group_one_job_starts(queue: Queue) -> None:
    first, second = [await queue.add(concurrency_group="deploy") for _ in range(2)]
    other = await queue.add(concurrency_group="test")
    assert await queue.turn() == [first, other]
    waiting = (await queue.job(second)).reason
    assert waiting is not None
    assert (waiting.code, "'deploy'" in waiting.message) == (ReasonCode.WAITING_FOR_GROUP, True)


async def test_jobs_without_a_group_wait_for_no_other(queue: Queue) -> None:
    jobs = [await queue.add() for _ in range(2)]
    assert await queue.turn() == jobs


async def test_a_job_waits_for_the_one_of_its_group_that_runs(queue: Queue) -> None:
    of_group = {"concurrency_group": "deploy", "project": "p"}
    waiting = await queue.add(**of_group)
    elsewhere = await queue.add(concurrency_group="deploy")
    fields = {"type": "container", "submit_time": utc_now(), **of_group}
    running = Job(id=new_job_id(), state=State.RUNNING, **fields)  # type: ignore[arg-type]
    for started in ([elsewhere], []):
        left = await queue.scheduler.turn(await queue.storage.queue.queued(), [running])
        assert [job.id for job in left] == started
    job = await queue.job(waiting)
    assert job.reason is not None
    assert (job.reason.code, job.version) == (ReasonCode.WAITING_FOR_GROUP, 1), "which is written once"
    assert await queue.turn() == [waiting]


async def test_an_image_is_pulled_while_the_group_is_busy(queue: Queue) -> None:
    await queue.add(concurrency_group="deploy")
    await queue.add("far", concurrency_group="deploy")
    await queue.turn()
    await queue.runtime.pulling("far")


async def test_who_replaces_a_job_is_in_its_reason(queue: Queue) -> None:
    replaced = await queue.add(concurrency_group="deploy")
    newest = await queue.add(concurrency_group="deploy", cancel_running=True)
    assert await queue.turn() == [newest]
    job = await queue.job(replaced)
    assert (job.conclusion, job.reason.code) == (Conclusion.CANCELLED, ReasonCode.CANCELLED)  # type: ignore[union-attr]
    assert newest in job.reason.message  # type: ignore[union-attr]


async def test_a_job_waits_for_the_quota_of_its_project_and_others_pass_it(queue: Queue) -> None:
    settings = ProjectSettings.model_validate({"quotas": {"running": 1}})
    await queue.storage.projects.add(
        Project(name="website", created_time=utc_now(), created_by="alice", settings=settings)
    )
    first, second = [await queue.add(project="website", priority=1) for _ in range(2)]
    other = await queue.add(project="other")
    assert await queue.turn() == [first, other]
    reason = (await queue.job(second)).reason
    assert reason is not None
    assert reason.code is ReasonCode.WAITING_FOR_QUOTA
    assert reason.message == "the project 'website' may run one job at a time (its quota running)"
    assert await queue.turn(active=1, of="website") == []
    job = await queue.job(first)
    await queue.writer.write(job, state=State.COMPLETED, conclusion=Conclusion.SUCCEEDED, end_time=utc_now())
    assert await queue.turn() == [second]


async def test_the_start_is_decided_in_the_database(queue: Queue) -> None:
    """What the turn does not see, the transaction does."""
    await queue.storage.projects.add(
        Project(
            name="website",
            created_time=utc_now(),
            created_by="alice",
            settings=ProjectSettings.model_validate({"quotas": {"running": 1}}),
        )
    )
    first, second = [await queue.add(project="website") for _ in range(2)]
    assert await queue.turn() == [first]
    assert await queue.turn() == [], "the caller says that no job runs, but one does"
    assert (await queue.job(second)).state is State.QUEUED
