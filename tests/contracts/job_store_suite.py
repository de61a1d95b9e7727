"""What every `Storage` promises about jobs. An implementation subclasses it and gives `place`."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.attempts.outcomes import Annotation, Client, ResourceUse, Results, Sample, UsedImage
from ci_common.attempts.parts import StartWay, StepResult, StepStatus
from ci_common.errors import JobAlreadyCompleted, JobNotFound, QueueFull, StaleWrite, Unavailable
from ci_common.jobs import ACTIVE_STATES, TRANSITIONS, Attempt, Conclusion, Job, Reason, ReasonCode, State, new_job_id
from ci_common.times import utc_now
from ci_common.wire.results.record import sealed
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.submissions import AlreadySubmitted, Submission, SubmissionKey
from tests.contracts.storage_place import Base, Place
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
    "concurrency_group": "Größe",
    "cancel_running": True,
    "client": Client("127.0.0.1", "ü"),
    "arrival": {"accepted": 2**50},
}


class SubmissionKeys(Base):
    KEY = SubmissionKey("local", "a key", "digest")

    async def test_a_key_is_stored_with_its_job(self, storage: Storage) -> None:
        assert await storage.submissions.get("local", "a key") is None
        job = await storage.jobs.add(new_job(), max_queued=PLENTY, key=self.KEY)
        assert await storage.submissions.get("local", "a key") == Submission("digest", job.id)
        assert await storage.submissions.get("another", "a key") is None

    async def test_one_job_of_many_that_come_at_once(self, place: Place, storage: Storage) -> None:
        other = place.storage()
        await other.open()
        adding = [
            each.jobs.add(new_job(), max_queued=PLENTY, key=self.KEY) for each in (storage, other) for _ in range(5)
        ]
        made = await asyncio.gather(*adding, return_exceptions=True)
        [job] = [each for each in made if isinstance(each, Job)]
        assert [type(each) for each in made].count(AlreadySubmitted) == 9
        assert [each.id for each in await storage.queue.queued()] == [job.id]
        assert await storage.queue.length() == 1
        assert await other.submissions.get("local", "a key") == Submission("digest", job.id)
        await other.close()

    async def test_a_full_queue_leaves_the_key_free(self, storage: Storage) -> None:
        with pytest.raises(QueueFull):
            await storage.jobs.add(new_job(), max_queued=0, key=self.KEY)
        assert await storage.submissions.get("local", "a key") is None

    async def test_old_keys_are_deleted(self, storage: Storage) -> None:
        for number in range(5):
            await storage.jobs.add(new_job(), max_queued=PLENTY, key=replace(self.KEY, key=str(number)))
        assert await storage.submissions.prune(utc_now() - timedelta(hours=1), limit=10) == 0
        assert await storage.submissions.prune(utc_now() + timedelta(hours=1), limit=3) == 3
        assert await storage.submissions.prune(utc_now() + timedelta(hours=1), limit=3) == 2
        assert await storage.queue.length() == 5


class Lifetime(Base):
    async def test_closes_twice_and_without_having_been_opened(self, place: Place) -> None:
        storage = place.storage()
        await storage.close()
        await storage.open()
        await storage.ping()
        await storage.close()
        await storage.close()

    async def test_is_unavailable_while_closed(self, place: Place) -> None:
        storage = place.storage()
        with pytest.raises(Unavailable):
            await storage.ping()
        await storage.open()
        await storage.close()
        with pytest.raises(Unavailable):
            await storage.jobs.add(new_job(), max_queued=PLENTY)

    async def test_closing_finishes_what_was_begun(self, place: Place) -> None:
        storage = place.storage()
        await storage.open()
        jobs = [new_job() for _ in range(10)]
        adding = [asyncio.create_task(storage.jobs.add(job, max_queued=PLENTY)) for job in jobs]
        await asyncio.sleep(0)
        await storage.close()
        await asyncio.gather(*adding)
        await storage.open()
        assert len(await storage.queue.queued()) == 10
        await storage.close()

    async def test_installation_stays(self, place: Place, storage: Storage) -> None:
        first = await storage.installations.get()
        other = place.storage()
        await other.open()
        assert await other.installations.get() == first
        assert first.id
        assert first.data_path is None
        await other.close()


class Records(Base):
    async def test_each_attempt_has_a_record_with_its_end(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(**EVERYTHING), max_queued=PLENTY)
        running = await bring(storage, lease, job, State.RUNNING)
        assert await storage.records.get(job.id, 1) is None
        said = Results("# 1", (Annotation.bounded("error", "no\n", "job", file="a", line=2),), {"ü": "\ufffd"})
        used = ResourceUse(2**40, 0.25, samples=(Sample(10.5, memory=3),))
        left = {"results": said, "resources": used, "used_image": UsedImage("sha256:1", "a@sha256:2")}
        first = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON, exit_code=1, **left)
        queued = await storage.jobs.update(
            running, lease, state=State.QUEUED, attempt=2, earlier_attempts=(first,), not_before=NOON
        )
        again = await bring(storage, lease, queued, State.RUNNING)
        done = await storage.jobs.update(
            again, lease, state=State.COMPLETED, conclusion=Conclusion.SUCCEEDED, end_time=NOON, exit_code=0, **left
        )
        stored = await storage.jobs.get(job.id)
        assert (stored.results, stored.resources, stored.used_image) == (said, used, left["used_image"])
        for attempt in (1, 2):
            record = await storage.records.get(job.id, attempt)
            assert record is not None
            assert (record.document, record.sha256) == sealed(stored.as_of(attempt)) == sealed(done.as_of(attempt))
            assert json.loads(record.document)["summary"] == "# 1"


class Jobs(Base):
    @pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["least", "everything"])
    async def test_returns_what_was_added(self, storage: Storage, fields: dict[str, Any]) -> None:
        new = new_job(**fields)
        job = await storage.jobs.add(new, max_queued=PLENTY)
        assert (job.state, job.version, job.attempt) == (State.QUEUED, 0, 1)
        assert job.reason is not None
        assert job.reason.code is ReasonCode.WAITING_FOR_CONTROLLER
        assert job.arrival == new.arrival | {"persisting": job.arrival["persisting"]}, "it adds when it got it"
        as_asked = replace(job, arrival=new.arrival)
        assert {name: getattr(as_asked, name) for name in fields} == fields
        assert await storage.jobs.get(job.id) == job

    async def test_refuses_an_id_twice_and_keeps_the_first(self, storage: Storage) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        with pytest.raises(ValueError, match="id"):
            await storage.jobs.add(new_job(id=job.id, type="sleep"), max_queued=PLENTY)
        assert await storage.jobs.get(job.id) == job

    async def test_refuses_values_that_json_cannot_hold(self, storage: Storage) -> None:
        with pytest.raises(ValueError, match="JSON"):
            await storage.jobs.add(new_job(payload={"a": float("nan")}), max_queued=PLENTY)

    async def test_unknown_jobs(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        absent = Job(**{field: getattr(job, field) for field in ("type", "submit_time")}, id=new_job_id())
        with pytest.raises(JobNotFound, match=absent.id):
            await storage.jobs.get(absent.id)
        with pytest.raises(JobNotFound):
            await storage.jobs.request_cancel(absent.id, NOON)
        with pytest.raises(JobNotFound):
            await storage.jobs.update(absent, lease, error="x")
        assert await storage.jobs.get_many([absent.id, job.id, job.id]) == {job.id: job}
        assert await storage.jobs.get_many([]) == {}

    async def test_the_limit_counts_queued_jobs_only(self, storage: Storage, lease: Lease) -> None:
        first = await storage.jobs.add(new_job(), max_queued=2)
        second = await storage.jobs.add(new_job(), max_queued=2)
        with pytest.raises(QueueFull):
            await storage.jobs.add(new_job(), max_queued=2)
        await bring(storage, lease, first, State.STARTING)
        await storage.jobs.add(new_job(), max_queued=2)
        with pytest.raises(QueueFull):
            await storage.jobs.add(new_job(), max_queued=2)
        cancelled = {"state": State.COMPLETED, "conclusion": Conclusion.CANCELLED, "end_time": NOON}
        await storage.jobs.update(second, lease, **cancelled)
        await storage.jobs.add(new_job(), max_queued=2)

    async def test_a_full_queue_hurts_no_other_write(self, storage: Storage) -> None:
        adding = (storage.jobs.add(new_job(), max_queued=3) for _ in range(20))
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 17
        added = {outcome.id for outcome in outcomes if isinstance(outcome, Job)}
        assert {job.id for job in await storage.queue.queued()} == added

    async def test_queued_is_in_starting_order(self, storage: Storage, lease: Lease) -> None:
        priorities = [0, 5, -1, 5, 0]
        jobs = [await storage.jobs.add(new_job(priority=p), max_queued=PLENTY) for p in priorities]
        started = await storage.jobs.add(new_job(priority=9), max_queued=PLENTY)
        await bring(storage, lease, started, State.STARTING)
        assert await storage.queue.queued() == [jobs[1], jobs[3], jobs[0], jobs[4], jobs[2]]

    async def test_active_are_starting_and_running(self, storage: Storage, lease: Lease) -> None:
        jobs = {}
        for state in State:
            job = await storage.jobs.add(new_job(), max_queued=PLENTY)
            jobs[state] = await bring(storage, lease, job, state)
        active = sorted(await storage.queue.active(), key=lambda job: job.id)
        assert active == [jobs[State.STARTING], jobs[State.RUNNING]]


class Cancelling(Base):
    async def test_the_first_request_stands_and_the_version_stays(self, storage: Storage) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        first = await storage.jobs.request_cancel(job.id, NOON)
        assert (first.cancel_requested_time, first.version) == (NOON, job.version)
        again = await storage.jobs.request_cancel(job.id, NOON + timedelta(seconds=9))
        assert again == first == await storage.jobs.get(job.id)

    @pytest.mark.parametrize("state", [State.STARTING, State.RUNNING])
    async def test_active_jobs_take_the_request(self, storage: Storage, lease: Lease, state: State) -> None:
        job = await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), state)
        assert (await storage.jobs.request_cancel(job.id, NOON)).cancel_requested_time == NOON

    async def test_a_completed_job_takes_none(self, storage: Storage, lease: Lease) -> None:
        asked = await storage.jobs.add(new_job(), max_queued=PLENTY)
        asked = await storage.jobs.request_cancel(asked.id, NOON)
        for job in (asked, await storage.jobs.add(new_job(), max_queued=PLENTY)):
            completed = await bring(storage, lease, job, State.COMPLETED)
            with pytest.raises(JobAlreadyCompleted):
                await storage.jobs.request_cancel(job.id, NOON + timedelta(seconds=9))
            assert await storage.jobs.get(job.id) == completed

    async def test_an_update_does_not_lose_a_request_that_came_meanwhile(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        await storage.jobs.request_cancel(job.id, NOON)
        updated = await storage.jobs.update(job, lease, state=State.STARTING)
        assert updated.cancel_requested_time == NOON
        assert updated == await storage.jobs.get(job.id)


EARLIER = Attempt(
    number=1,
    conclusion=Conclusion.FAILED,
    end_time=NOON,
    reason=Reason(ReasonCode.EXIT_CODE, "exit status 3"),
    exit_code=3,
    start_time=NOON,
    runtime="docker",
    steps=(StepResult("a", StepStatus.FAILED, NOON, 0, exit_code=3, end_time=NOON, reason="why"),),
    log_bytes=17,
    log_sha256="0" * 64,
)


class Updating(Base):
    async def test_returns_and_keeps_every_field(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(max_attempts=4), max_queued=PLENTY)
        job = await bring(storage, lease, job, State.RUNNING)
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
        updated = await storage.jobs.update(job, lease, **changes)
        assert updated == job.with_changes(**changes, version=job.version + 1)
        assert updated == await storage.jobs.get(job.id)
        emptied = await storage.jobs.update(updated, lease, reason=None, error=None, steps=())
        assert emptied == await storage.jobs.get(job.id)
        assert (emptied.reason, emptied.error, emptied.steps) == (None, None, ())

    async def test_keeps_what_is_said_of_an_attempt_bit_by_bit(self, storage: Storage, lease: Lease) -> None:
        job = await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), State.STARTING)
        said: list[dict[str, Any]] = [
            {"runtime": None},  # Nothing is known again.
            {"steps": (StepResult("a", StepStatus.RUNNING, NOON, 0),)},
            {"state": State.RUNNING, "start_time": NOON, "start_way": StartWay.COLD},
            {"state": State.COMPLETED, "end_time": NOON, "conclusion": Conclusion.SUCCEEDED},
            {"log_sha256": "0" * 64},  # Only an attempt that has ended may have one.
            {"reason": Reason(ReasonCode.EXIT_CODE, "exit status 0"), "exit_code": 0},
            {"trace": {"cleared": 2**50}},
        ]
        for changes in said:
            job = await storage.jobs.update(job, lease, **changes)
            assert await storage.jobs.get(job.id) == job

    @pytest.mark.parametrize("field", ["id", "type", "payload", "priority", "cancel_requested_time", "version", "nope"])
    async def test_refuses_what_is_not_the_controllers(self, storage: Storage, lease: Lease, field: str) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        with pytest.raises(ValueError, match=field):
            await storage.jobs.update(job, lease, **{field: getattr(job, field, 1)})
        assert await storage.jobs.get(job.id) == job

    async def test_begins_another_attempt_and_keeps_the_earlier(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(max_attempts=2), max_queued=PLENTY)
        job = await bring(storage, lease, job, State.RUNNING)
        requeued: dict[str, Any] = {"state": State.QUEUED, "start_time": None, "runtime": None, "not_before": NOON}
        with pytest.raises(ValueError, match="attempt"):
            await storage.jobs.update(job, lease, **requeued)
        again = await storage.jobs.update(job, lease, **requeued, attempt=2, earlier_attempts=(EARLIER,))
        assert again == await storage.jobs.get(job.id)
        assert (again.attempt, again.earlier_attempts) == (2, (EARLIER,))

    async def test_refuses_another_version(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        newer = await storage.jobs.update(job, lease, error="first")
        with pytest.raises(StaleWrite):
            await storage.jobs.update(job, lease, error="second")
        assert await storage.jobs.get(job.id) == newer

    @pytest.mark.parametrize("before", State)
    @pytest.mark.parametrize("after", State)
    async def test_keeps_to_the_transitions(self, storage: Storage, lease: Lease, before: State, after: State) -> None:
        job = await bring(storage, lease, await storage.jobs.add(new_job(max_attempts=2), max_queued=PLENTY), before)
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
            assert (await storage.jobs.update(job, lease, **changes)).state is after
        else:
            with pytest.raises(ValueError, match="cannot go"):
                await storage.jobs.update(job, lease, **changes)
            assert await storage.jobs.get(job.id) == job


class JobSuite(Lifetime, Jobs, SubmissionKeys, Records, Cancelling, Updating):
    """All of it."""
