"""The pool: what waits, who gets it, what becomes of the rest. The engine is played; files and database are real."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from ci_common.errors import LeadershipLost, RuntimeUnavailable, StartFault
from ci_common.ids import new_job_id
from ci_common.jobs import Job, NewJob, StartWay, State
from ci_common.layout import DataDirectory
from ci_common.processes import this_process
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.times import utc_now
from ci_common.watch import FileWatcher
from ci_controller.completion import Writer
from ci_controller.pool import Pool
from ci_controller.pool import pool as pool_module
from ci_controller.runtime.guarded import GuardedRuntime
from ci_controller.runtime.protocol import WAITING, Runtime, WorkloadKey
from ci_persistence.sqlite import SQLiteJobRepository
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually
from tests.helpers.waiting_runtime import WaitingRuntime

PLAN = plan_of(*shell_steps("true")).model_copy(update={"image": "one"})
OTHER = PLAN.model_copy(update={"image": "other"})


class Place:
    """A pool of three, two of a kind, with all that it needs."""

    def __init__(self, tmp_path: Path, writer: Writer, watcher: FileWatcher) -> None:
        self.settings = Settings.from_env(
            {
                "CI_DB_PATH": str(tmp_path / "ci.db"),
                "CI_POOL_SIZE": "3",
                "CI_POOL_PER_KEY": "2",
                "CI_MIN_FREE_BYTES": "0",
            }
        )
        self.data = DataDirectory(self.settings.data_path)
        self.data.create()
        self.runtime = WaitingRuntime()
        self.writer = writer
        self.watcher = watcher
        self.memory = 100.0
        self.leads = True
        self.pool = self.another()

    def another(self) -> Pool:
        """Return a pool as the next controller has one."""
        return Pool(
            self.settings,
            runtime=GuardedRuntime(cast(Runtime, self.runtime), self.check),
            data=self.data,
            writer=self.writer,
            watcher=self.watcher,
            memory_percent=lambda: self.memory,
        )

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLost("somebody else leads")

    async def sort(self, pool: Pool) -> tuple[list[Job], list[str]]:
        held, strangers = await pool.sort(await self.runtime.list_workloads())
        return held, [sighting.key.job_id for sighting in strangers]

    async def starting(self, workload: str) -> Job:
        """Store a job that took this workload."""
        repository = self.writer.repository
        job = await repository.add(NewJob(id=new_job_id(), type="container", submit_time=utc_now()), max_queued=100)
        return await self.writer.write(job, state=State.STARTING, workload=workload, start_way=StartWay.WARM)

    async def waiting(self, number: int, image: str = "one") -> None:
        """Return once so many of this kind wait, by the pool's own word."""

        async def told() -> bool:
            state = await self.writer.repository.pool()
            return sum(kind.waiting for kind in state.kinds if kind.image in (image, None)) == number

        await eventually(told, f"{number} of {image} wait")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    repository = SQLiteJobRepository(tmp_path / "ci.db")
    await repository.open()
    lease = await repository.acquire(this_process(), 60)
    assert lease is not None
    async with FileWatcher() as watcher:
        made = Place(tmp_path, Writer(repository, lease, utc_now), watcher)
        running = asyncio.create_task(made.pool.run())
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    made.runtime.close()
    await repository.close()


async def take(pool: Pool, plan: ExecutionPlan) -> str | None:
    """Do as the scheduler does for a job that starts."""
    kind = await pool.kind_of(plan)
    return None if kind is None else pool.take(kind, plan)


async def test_what_was_used_waits_for_the_next_job(place: Place) -> None:
    assert await take(place.pool, PLAN) is None
    place.pool.note_load(busy=True)
    place.pool.note_load(busy=False)
    await place.waiting(1)
    (key,) = place.runtime.created
    assert key.attempt == WAITING
    assert place.runtime.specs[key].kind == "one"
    assert await take(place.pool, OTHER) is None, "another kind's"
    assert await take(place.pool, PLAN) == key.job_id


async def used(place: Place, *plans: ExecutionPlan) -> None:
    for plan in plans:
        await take(place.pool, plan)
    place.pool.note_load(busy=True)
    place.pool.note_load(busy=False)


async def test_nobody_gets_what_somebody_has(place: Place) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    taken = [await take(place.pool, PLAN) for _ in range(3)]
    assert taken[2] is None
    assert len({*taken}) == 3
    assert await take(place.pool, PLAN) is None


async def test_what_was_taken_in_vain_waits_on(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    workload = await take(place.pool, PLAN)
    assert workload is not None
    place.pool.give_back(workload)
    assert await take(place.pool, PLAN) == workload


async def test_no_more_wait_than_allowed(place: Place) -> None:
    await used(place, *[OTHER] * 5, *[PLAN] * 5)
    await place.waiting(2, "one")
    await place.waiting(1, "other")
    assert len(place.runtime.created) == 3


async def test_none_is_made_while_a_job_waits_for_the_engine(place: Place) -> None:
    await take(place.pool, PLAN)
    place.pool.note_load(busy=True)
    for _ in range(50):
        await asyncio.sleep(0)
    assert place.runtime.created == []
    place.pool.note_load(busy=False)
    await place.waiting(1)


async def test_none_is_made_while_a_job_takes_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    monkeypatch.setattr(pool_module, "PAUSE_SECONDS", 3600.0)
    workload = await take(place.pool, PLAN)
    assert workload is not None
    place.pool.settle(workload)
    await place.waiting(0)
    for _ in range(50):  # Making one takes a thread and the loop a few milliseconds.
        await asyncio.sleep(0.002)
    assert place.runtime.tried == 1


async def test_one_that_died_is_replaced(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (first,) = place.runtime.created
    place.runtime.die(first)
    place.pool.lost(first.job_id)
    await eventually(lambda: len(place.runtime.created) == 2 and first not in place.runtime.specs, "it is replaced")
    await place.waiting(1)


async def test_one_whose_death_is_heard_of_is_removed(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (first,) = place.runtime.created
    run = place.runtime.run_of(first)
    place.runtime.die(first)
    place.pool.lost(first.job_id)
    await eventually(lambda: first not in place.runtime.specs, "it is removed")
    await eventually(lambda: not run.path.exists(), "and its files")


async def test_want_of_memory_empties_the_pool(place: Place) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    place.memory = 5.0
    place.pool.note_load(busy=True)
    place.pool.note_load(busy=False)
    await eventually(lambda: not place.runtime.specs, "nothing waits")
    held_back = (await place.writer.repository.pool()).held_back
    assert held_back is not None
    assert "memory" in held_back


async def test_what_a_job_takes_just_then_is_not_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    taken: list[str | None] = []

    async def take_first(*_: object) -> None:
        if not taken:
            taken.append(await take(place.pool, PLAN))

    monkeypatch.setattr(place.writer.repository, "publish_pool", take_first)
    place.memory = 5.0
    place.pool.note_load(busy=True)
    place.pool.note_load(busy=False)
    await eventually(lambda: taken, "it is taken while the pool is being emptied")
    for _ in range(50):
        await asyncio.sleep(0)
    assert taken == [key.job_id]
    assert key in place.runtime.specs


async def test_what_is_taken_over_just_then_is_not_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    following, held = place.another(), []

    async def sort_first(*_: object) -> None:
        if not held:
            held.append(await place.sort(following))

    monkeypatch.setattr(place.writer.repository, "publish_pool", sort_first)
    running = asyncio.create_task(following.run())
    await eventually(lambda: held, "it is taken over while the pool looks")
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    assert key in place.runtime.specs
    assert await take(following, PLAN) == key.job_id


async def test_what_cannot_be_made_is_not_tried_for_ever(place: Place) -> None:
    place.runtime.fault = StartFault("the image has no /bin/sh")
    await used(place, PLAN)
    await eventually(lambda: place.runtime.tried == 1, "it is tried")

    async def forgotten() -> bool:
        return not (await place.writer.repository.pool()).kinds

    await eventually(forgotten, "nothing is wanted")
    assert list(place.data.pool.iterdir()) == [], "and no file is left of the try"


async def test_an_engine_that_goes_leaves_nothing_half_made_for_ever(place: Place) -> None:
    place.runtime.fault = RuntimeUnavailable("no engine answers")
    await used(place, PLAN)
    await eventually(lambda: place.runtime.tried == 1, "it is tried")
    await place.waiting(0)
    await place.pool.sweep()
    assert list(place.data.pool.iterdir()) == []


async def test_the_next_controller_takes_over_what_waits(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    following = place.another()
    assert await place.sort(following) == ([], [])
    assert await take(following, PLAN) == key.job_id


async def test_the_next_controller_leaves_alone_what_a_job_has_taken(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    workload = await take(place.pool, PLAN)
    assert workload is not None
    job = await place.starting(workload)
    following = place.another()
    held, strangers = await place.sort(following)
    assert ([each.id for each in held], strangers) == ([job.id], [])
    await following.sweep()
    assert await take(following, PLAN) is None
    assert place.data.waiting_run(workload).is_gate_read()


async def test_what_was_taken_and_never_written_down_waits_again(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    place.pool.note_load(busy=True)  # So that no other is made meanwhile.
    workload = await take(place.pool, PLAN)
    assert workload is not None
    assert await place.sort(place.pool) == ([], []), "while it is being taken, it is nobody else's"
    place.pool.settle(workload)
    assert await place.sort(place.pool) == ([], [])
    assert await take(place.pool, PLAN) == workload


async def test_what_waits_no_more_when_the_next_controller_comes_is_removed(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    place.runtime.die(key)
    assert await place.sort(place.another()) == ([], [])
    assert key not in place.runtime.specs
    assert not place.data.waiting_run(key.job_id).path.exists()


async def test_what_has_no_directory_in_the_pool_is_a_stranger(place: Place) -> None:
    """It may be a job's that the database does not know."""
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    place.data.waiting_run(key.job_id).path.rename(place.data.path / "elsewhere")
    assert await place.sort(place.another()) == ([], [key.job_id])
    assert key in place.runtime.specs


async def test_directories_without_a_workload_go(place: Place) -> None:
    lonely = place.data.waiting_run(new_job_id()).path
    lonely.mkdir(parents=True)
    await place.pool.sweep()
    assert not lonely.exists()


async def test_a_controller_that_leaves_leaves_nothing_waiting(place: Place) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    await place.pool.close()
    assert place.runtime.specs == {}
    assert list(place.data.pool.iterdir()) == []


async def test_one_that_leads_no_more_touches_nothing(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    place.leads = False
    await place.pool.close()
    assert WorkloadKey(key.job_id, WAITING) in place.runtime.specs
    assert place.data.waiting_run(key.job_id).is_gate_read()


async def test_without_a_pool_nothing_is_asked_or_made(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"pool_memory": 8 * 1024**2 - 1})
    none = place.another()
    place.runtime.kinds = {"one": None}
    assert await take(none, PLAN) is None
    assert (await place.sort(none)) == ([], [])
