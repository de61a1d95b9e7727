"""What every `JobRepository` promises about jobs. An implementation subclasses it and gives `place`."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.errors import JobAlreadyCompleted, JobNotFound, QueueFull, StaleWrite, Unavailable
from ci_common.jobs import (
    ACTIVE_STATES,
    TRANSITIONS,
    Attempt,
    Conclusion,
    Job,
    Reason,
    ReasonCode,
    StartWay,
    State,
    StepResult,
    StepStatus,
    new_job_id,
)
from ci_persistence.repository import Lease
from ci_persistence.storage import Storage
from tests.contracts.job_repository_place import Base, Place
from tests.helpers.jobs import NOON, PLENTY, bring, new_job

EVERYTHING = {
    "type": "container",
    "payload": {"text": 'ü "quoted" \\ back\nline', "half": "\ud800", "nested": [1, None, {"a": 2.5}]},
    "plan": {"version": 1, "image": "busybox", "env": {"A": "b\x00c"}},
    "image": "busybox",
    "has_upload": True,
    "priority": -7,
    "project": "Größe",
    "labels": {"branch": "main", "with.dot and $": "x"},
    "max_attempts": 3,
    "retry_of": "01900000-0000-7000-8000-000000000000",
    "arrival": {"accepted": 2**50},
}


class Lifetime(Base):
    async def test_closes_twice_and_without_having_been_opened(self, place: Place) -> None:
        repository = place.repository()
        await repository.close()
        await repository.open()
        await repository.ping()
        await repository.close()
        await repository.close()

    async def test_is_unavailable_while_closed(self, place: Place) -> None:
        repository = place.repository()
        with pytest.raises(Unavailable):
            await repository.ping()
        await repository.open()
        await repository.close()
        with pytest.raises(Unavailable):
            await repository.add(new_job(), max_queued=PLENTY)

    async def test_closing_finishes_what_was_begun(self, place: Place) -> None:
        repository = place.repository()
        await repository.open()
        jobs = [new_job() for _ in range(10)]
        adding = [asyncio.create_task(repository.add(job, max_queued=PLENTY)) for job in jobs]
        await asyncio.sleep(0)
        await repository.close()
        await asyncio.gather(*adding)
        await repository.open()
        assert len(await repository.queued()) == 10
        await repository.close()

    async def test_installation_stays(self, place: Place, repository: Storage) -> None:
        first = await repository.installation()
        other = place.repository()
        await other.open()
        assert await other.installation() == first
        assert first.id
        assert first.data_path is None
        await other.close()


class Jobs(Base):
    @pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["least", "everything"])
    async def test_returns_what_was_added(self, repository: Storage, fields: dict[str, Any]) -> None:
        new = new_job(**fields)
        job = await repository.add(new, max_queued=PLENTY)
        assert (job.state, job.version, job.attempt) == (State.QUEUED, 0, 1)
        assert job.reason is not None
        assert job.reason.code is ReasonCode.WAITING_FOR_CONTROLLER
        assert job.arrival == new.arrival | {"persisting": job.arrival["persisting"]}, "it adds when it got it"
        as_asked = replace(job, arrival=new.arrival)
        assert {name: getattr(as_asked, name) for name in fields} == fields
        assert await repository.get(job.id) == job

    async def test_refuses_an_id_twice_and_keeps_the_first(self, repository: Storage) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        with pytest.raises(ValueError, match="id"):
            await repository.add(new_job(id=job.id, type="sleep"), max_queued=PLENTY)
        assert await repository.get(job.id) == job

    async def test_refuses_values_that_json_cannot_hold(self, repository: Storage) -> None:
        with pytest.raises(ValueError, match="JSON"):
            await repository.add(new_job(payload={"a": float("nan")}), max_queued=PLENTY)

    async def test_unknown_jobs(self, repository: Storage, lease: Lease) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        absent = Job(**{field: getattr(job, field) for field in ("type", "submit_time")}, id=new_job_id())
        with pytest.raises(JobNotFound, match=absent.id):
            await repository.get(absent.id)
        with pytest.raises(JobNotFound):
            await repository.request_cancel(absent.id, NOON)
        with pytest.raises(JobNotFound):
            await repository.update(absent, lease, error="x")
        assert await repository.get_many([absent.id, job.id, job.id]) == {job.id: job}
        assert await repository.get_many([]) == {}

    async def test_the_limit_counts_queued_jobs_only(self, repository: Storage, lease: Lease) -> None:
        first = await repository.add(new_job(), max_queued=2)
        second = await repository.add(new_job(), max_queued=2)
        with pytest.raises(QueueFull):
            await repository.add(new_job(), max_queued=2)
        await bring(repository, lease, first, State.STARTING)
        await repository.add(new_job(), max_queued=2)
        with pytest.raises(QueueFull):
            await repository.add(new_job(), max_queued=2)
        cancelled = {"state": State.COMPLETED, "conclusion": Conclusion.CANCELLED, "end_time": NOON}
        await repository.update(second, lease, **cancelled)
        await repository.add(new_job(), max_queued=2)

    async def test_a_full_queue_hurts_no_other_write(self, repository: Storage) -> None:
        adding = (repository.add(new_job(), max_queued=3) for _ in range(20))
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 17
        added = {outcome.id for outcome in outcomes if isinstance(outcome, Job)}
        assert {job.id for job in await repository.queued()} == added

    async def test_queued_is_in_starting_order(self, repository: Storage, lease: Lease) -> None:
        priorities = [0, 5, -1, 5, 0]
        jobs = [await repository.add(new_job(priority=p), max_queued=PLENTY) for p in priorities]
        started = await repository.add(new_job(priority=9), max_queued=PLENTY)
        await bring(repository, lease, started, State.STARTING)
        assert await repository.queued() == [jobs[1], jobs[3], jobs[0], jobs[4], jobs[2]]

    async def test_active_are_starting_and_running(self, repository: Storage, lease: Lease) -> None:
        jobs = {}
        for state in State:
            job = await repository.add(new_job(), max_queued=PLENTY)
            jobs[state] = await bring(repository, lease, job, state)
        active = sorted(await repository.active(), key=lambda job: job.id)
        assert active == [jobs[State.STARTING], jobs[State.RUNNING]]


class Cancelling(Base):
    async def test_the_first_request_stands_and_the_version_stays(self, repository: Storage) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        first = await repository.request_cancel(job.id, NOON)
        assert (first.cancel_requested_time, first.version) == (NOON, job.version)
        again = await repository.request_cancel(job.id, NOON + timedelta(seconds=9))
        assert again == first == await repository.get(job.id)

    @pytest.mark.parametrize("state", [State.STARTING, State.RUNNING])
    async def test_active_jobs_take_the_request(self, repository: Storage, lease: Lease, state: State) -> None:
        job = await bring(repository, lease, await repository.add(new_job(), max_queued=PLENTY), state)
        assert (await repository.request_cancel(job.id, NOON)).cancel_requested_time == NOON

    async def test_a_completed_job_takes_none(self, repository: Storage, lease: Lease) -> None:
        asked = await repository.add(new_job(), max_queued=PLENTY)
        asked = await repository.request_cancel(asked.id, NOON)
        for job in (asked, await repository.add(new_job(), max_queued=PLENTY)):
            completed = await bring(repository, lease, job, State.COMPLETED)
            with pytest.raises(JobAlreadyCompleted):
                await repository.request_cancel(job.id, NOON + timedelta(seconds=9))
            assert await repository.get(job.id) == completed

    async def test_an_update_does_not_lose_a_request_that_came_meanwhile(
        self, repository: Storage, lease: Lease
    ) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        await repository.request_cancel(job.id, NOON)
        updated = await repository.update(job, lease, state=State.STARTING)
        assert updated.cancel_requested_time == NOON
        assert updated == await repository.get(job.id)


EARLIER = Attempt(
    number=1,
    conclusion=Conclusion.FAILED,
    end_time=NOON,
    reason=Reason(ReasonCode.EXIT_CODE, "exit status 3"),
    exit_code=3,
    start_time=NOON,
    runtime="docker",
    steps=(StepResult("a", StepStatus.FAILED, NOON, 0, exit_code=3, end_time=NOON),),
    log_bytes=17,
    log_sha256="0" * 64,
)


class Updating(Base):
    async def test_returns_and_keeps_every_field(self, repository: Storage, lease: Lease) -> None:
        job = await repository.add(new_job(max_attempts=4), max_queued=PLENTY)
        job = await bring(repository, lease, job, State.RUNNING)
        steps = (
            StepResult("a", StepStatus.FAILED, NOON, 0, exit_code=3, end_time=NOON + timedelta(microseconds=1)),
            StepResult("ß", StepStatus.RUNNING, NOON, 17),
        )
        changes = {
            "state": State.COMPLETED,
            "reason": Reason(ReasonCode.EXIT_CODE, "exit status 3"),
            "not_before": NOON,
            "start_time": NOON,
            "end_time": NOON + timedelta(microseconds=1),
            "runtime": "docker",
            "start_way": StartWay.WARM,
            "trace": {"gate": 2**50},
            "stop_code": ReasonCode.NO_OUTPUT,
            "conclusion": Conclusion.FAILED,
            "exit_code": 3,
            "result": '"x"',
            "error": "it broke",
            "steps": steps,
            "log_bytes": 2**40,
            "log_sha256": "0" * 64,
        }
        updated = await repository.update(job, lease, **changes)
        assert updated == job.with_changes(**changes, version=job.version + 1)
        assert updated == await repository.get(job.id)
        emptied = await repository.update(updated, lease, reason=None, error=None, steps=())
        assert emptied == await repository.get(job.id)
        assert (emptied.reason, emptied.error, emptied.steps) == (None, None, ())

    @pytest.mark.parametrize("field", ["id", "type", "payload", "priority", "cancel_requested_time", "version", "nope"])
    async def test_refuses_what_is_not_the_controllers(self, repository: Storage, lease: Lease, field: str) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        with pytest.raises(ValueError, match=field):
            await repository.update(job, lease, **{field: getattr(job, field, 1)})
        assert await repository.get(job.id) == job

    async def test_begins_another_attempt_and_keeps_the_earlier(self, repository: Storage, lease: Lease) -> None:
        job = await repository.add(new_job(max_attempts=2), max_queued=PLENTY)
        job = await bring(repository, lease, job, State.RUNNING)
        requeued: dict[str, Any] = {"state": State.QUEUED, "start_time": None, "runtime": None, "not_before": NOON}
        with pytest.raises(ValueError, match="attempt"):
            await repository.update(job, lease, **requeued)
        again = await repository.update(job, lease, **requeued, attempt=2, earlier_attempts=(EARLIER,))
        assert again == await repository.get(job.id)
        assert (again.attempt, again.earlier_attempts) == (2, (EARLIER,))

    async def test_refuses_another_version(self, repository: Storage, lease: Lease) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        newer = await repository.update(job, lease, error="first")
        with pytest.raises(StaleWrite):
            await repository.update(job, lease, error="second")
        assert await repository.get(job.id) == newer

    @pytest.mark.parametrize("before", State)
    @pytest.mark.parametrize("after", State)
    async def test_keeps_to_the_transitions(
        self, repository: Storage, lease: Lease, before: State, after: State
    ) -> None:
        job = await bring(repository, lease, await repository.add(new_job(max_attempts=2), max_queued=PLENTY), before)
        changes: dict[str, Any] = {"state": after, "start_time": None, "end_time": None, "conclusion": None}
        if after in (State.RUNNING, State.COMPLETED):
            changes["start_time"] = NOON
        if after is State.COMPLETED:
            changes |= {"end_time": NOON, "conclusion": Conclusion.ERRORED}
        if after is State.QUEUED:
            changes["runtime"] = None
            if before in ACTIVE_STATES:
                changes |= {"attempt": 2, "earlier_attempts": (EARLIER,)}
        if after == before or after in TRANSITIONS[before]:
            assert (await repository.update(job, lease, **changes)).state is after
        else:
            with pytest.raises(ValueError, match="cannot go"):
                await repository.update(job, lease, **changes)
            assert await repository.get(job.id) == job


class JobSuite(Lifetime, Jobs, Cancelling, Updating):
    """All of it."""
