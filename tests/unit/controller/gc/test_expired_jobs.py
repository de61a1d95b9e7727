"""What retention deletes, and when it trusts the clock."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import SettingsError, StaleWrite
from ci_common.jobs import Conclusion, State, new_job_id
from ci_common.run_directory.layout import UNCOMMITTED, DataDirectory
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.sharing.projects import Project, ProjectSettings
from ci_common.system.processes import this_process
from ci_common.times import to_micros
from ci_controller.gc import expired_jobs
from ci_controller.gc.directories import InterruptedSubmissions, OrphanDirectories
from ci_controller.gc.expired_jobs import Ages, ExpiredJobs, ExpiredUploads, OldAudit
from ci_controller.gc.runner import Collector, GarbageCollector
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_persistence.job_lists import JobFilter
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.installation import leading
from tests.helpers.jobs import NOON, PLENTY, SetUptime, new_job
from tests.unit.controller.gc.rounds import one_round

S, F, T, E, C = (Conclusion(name) for name in ("succeeded", "failed", "timed_out", "errored", "cancelled"))


@dataclass
class Bench:
    """An installation whose clock the test sets; now is noon."""

    path: Path
    storage: Storage
    lease: Lease
    now: datetime = NOON

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.path / "data")

    def ages(self, **environment: str) -> Ages:
        settings = Settings.from_env(environment, db_path=self.path / "jobs.db", data_dir=self.data.path)
        return Ages(settings, self.storage.retention, lambda: self.now, self.storage.projects)

    async def expire(self, **environment: str) -> None:
        """Delete the jobs that these settings do not keep."""
        await one_round(ExpiredJobs(self.ages(**environment), self.lease))

    def orphans(self, **environment: str) -> Callable[[], Awaitable[None]]:
        """Return what does one round of removing orphan directories, an hour after the last."""
        ages = self.ages(**environment)
        runtime = ProcessRuntime(ages.settings, self.data)
        return self._rounds(OrphanDirectories(self.data, self.storage.jobs, runtime, ages.oldest_job))

    def interrupted(self, parent: Path) -> Callable[[], Awaitable[None]]:
        """Return what does one round of removing interrupted submissions."""
        runtime = ProcessRuntime(self.ages().settings, self.data)
        return self._rounds(InterruptedSubmissions(parent, self.data, self.storage.jobs, runtime, lambda: self.now))

    def _rounds(self, collector: Collector[Any]) -> Callable[[], Awaitable[None]]:
        uptime = SetUptime()
        runner = GarbageCollector([collector], uptime)

        async def collect() -> None:
            uptime.seconds += 3600
            await runner.collect(collector)

        return collect

    async def ended(self, days: float, conclusion: Conclusion = S, **fields: Any) -> str:
        """Store a job that ended so many days before noon; return its id."""
        job = await self.storage.jobs.add(new_job(**fields), max_queued=PLENTY)
        ended = {"conclusion": conclusion, "end_time": NOON - timedelta(days=days)}
        await self.storage.jobs.update(job, self.lease, state=State.COMPLETED, **ended)
        self.data.upload(job.id).parent.mkdir()
        self.data.upload(job.id).touch()
        return job.id

    async def left(self) -> set[str]:
        return {job.id for job in await self.storage.jobs.list_jobs(JobFilter(), limit=PLENTY)}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with leading(tmp_path) as (storage, lease):
        bench = Bench(tmp_path, storage, lease)
        bench.data.create()
        yield bench


AGES = [2, 8, 31, 91, 400]
BY_AGE: list[tuple[dict[str, str], dict[tuple[str | None, Conclusion], int]]] = [
    ({}, {(None, S): 2, (None, C): 2, (None, F): 3, (None, T): 3, (None, E): 3}),
    ({"CI_RETENTION": "forever"}, {(None, S): 5, (None, F): 5}),
    ({"CI_RETENTION_FAILED": "forever"}, {(None, S): 2, (None, F): 5}),
    ({"CI_RETENTION": "365d"}, {(None, S): 4, (None, F): 4}),
    ({"CI_RETENTION": "30d,nightly=7d,release=forever"}, {("nightly", S): 1, ("release", S): 5, ("other", S): 2}),
    ({"CI_RETENTION": "30d,nightly=7d"}, {("nightly", F): 3}),
    ({"CI_RETENTION": "30d,nightly=7d", "CI_RETENTION_FAILED": "90d,nightly=7d"}, {("nightly", F): 1, ("b", F): 3}),
]
"""Settings, and how many of the jobs with AGES are left of each kind."""


@pytest.mark.parametrize(("environment", "expected"), BY_AGE, ids=str)
async def test_by_age(
    bench: Bench, environment: dict[str, str], expected: dict[tuple[str | None, Conclusion], int]
) -> None:
    kept = set()
    for (project, conclusion), number in expected.items():
        jobs = [await bench.ended(days, conclusion, project=project) for days in AGES]
        kept |= set(jobs[:number])
    waiting = (await bench.storage.jobs.add(new_job(submit_time=NOON - timedelta(days=999)), max_queued=9)).id
    await bench.expire(**environment)
    assert await bench.left() == kept | {waiting}
    assert await bench.storage.retention.count_removals() == len(AGES) * len(expected) - len(kept)


BY_NUMBER: list[tuple[dict[str, str], dict[str | None, int]]] = [
    ({"MAX_JOBS": "4"}, {"a": 2, "b": 1, None: 1}),
    ({"MAX_JOBS": "unlimited"}, {"a": 3, "b": 3, None: 3}),
    ({"CI_MAX_JOBS_PER_PROJECT": "2"}, {"a": 2, "b": 2, None: 3}),
    ({"CI_MAX_JOBS_PER_PROJECT": "2,a=1,b=unlimited"}, {"a": 1, "b": 3, None: 3}),
    ({"CI_MAX_JOBS_PER_PROJECT": "unlimited,b=1"}, {"a": 3, "b": 1, None: 3}),
    ({"CI_MAX_JOBS_PER_PROJECT": "2", "MAX_JOBS": "5"}, {"a": 2, "b": 2, None: 1}),
]


@pytest.mark.parametrize(("environment", "expected"), BY_NUMBER, ids=str)
async def test_by_number(bench: Bench, environment: dict[str, str], expected: dict[str | None, int]) -> None:
    """Whatever the clock says; the newest stay."""
    jobs: dict[str | None, list[str]] = {"a": [], "b": [], None: []}
    for minute in range(3):
        for offset, (project, ids) in enumerate(jobs.items()):
            ids.append(await bench.ended((minute * 3 + offset) / 1440, F, project=project))
    await bench.expire(**environment)
    assert await bench.left() == {job_id for project, ids in jobs.items() for job_id in ids[: expected[project]]}


@pytest.mark.parametrize(("step", "gone"), [(0, True), (365 * 5, False), (-365 * 5, False)])
async def test_a_clock_that_was_stepped_takes_nothing_away(bench: Bench, step: int, gone: bool) -> None:
    """Not even where jobs have ended since."""
    old, new = await bench.ended(40), await bench.ended(3)
    bench.now = NOON + timedelta(days=step)
    just_ended = await bench.ended(1 / 24 - step)
    await bench.expire()
    assert await bench.left() == {new, just_ended} | (set() if gone else {old})


async def test_work_goes_on_and_the_clock_is_trusted_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """As after a long holiday, or with a backup that is old."""
    old = await bench.ended(80)
    await bench.expire()
    assert "the clock may be wrong" in caplog.text
    new = await bench.ended(0)
    bench.now += timedelta(days=1, minutes=1)
    await bench.expire()
    assert old not in await bench.left()
    assert new in await bench.left()


async def test_short_ages_work_from_the_first_day(bench: Bench) -> None:
    old, new = await bench.ended(1 / 12), await bench.ended(1 / 48)
    await bench.expire(CI_RETENTION="1h")
    assert await bench.left() == {new}
    assert old != new


async def test_a_leader_no_more_deletes_nothing(bench: Bench) -> None:
    jobs = {await bench.ended(40), await bench.ended(3)}
    await bench.storage.leases.release(bench.lease)
    await bench.storage.leases.acquire(this_process(), 60)
    with pytest.raises(StaleWrite):
        await bench.expire()
    assert await bench.left() == jobs


async def test_many_go_in_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expired_jobs, "BATCH", 3)
    new = await bench.ended(3)
    for _ in range(8):
        await bench.ended(40, has_upload=True)
    await bench.expire()
    assert await bench.left() == {new}


async def test_uploads_go_before_their_jobs(bench: Bench) -> None:
    kinds = [(1.0, None), (3.0, None), (9.0, None), (9.0, "nightly"), (9.0, "release")]
    jobs = [await bench.ended(days, has_upload=True, project=project) for days, project in kinds]
    uploads = ExpiredUploads(bench.ages(CI_UPLOAD_RETENTION="8d,nightly=2d,release=forever"), bench.data, lambda: None)
    await one_round(uploads)
    assert [bench.data.upload(job_id).exists() for job_id in jobs] == [True, True, False, False, True]
    bench.now += timedelta(days=6)
    await one_round(uploads)
    assert [bench.data.upload(job_id).exists() for job_id in jobs] == [True, False, False, False, True]
    assert await bench.left() == set(jobs)


async def test_uploads_stay_by_default(bench: Bench) -> None:
    jobs = [await bench.ended(days, has_upload=True) for days in (3, 29)]
    await one_round(ExpiredUploads(bench.ages(), bench.data, lambda: None))
    assert all(bench.data.upload(job_id).exists() for job_id in jobs)


def days_ago(bench: Bench, path: Path, days: float) -> None:
    """Give a tree this age."""
    for entry in (*path.rglob("*"), path):
        os.utime(entry, times=(0, (NOON - timedelta(days=days)).timestamp()))


@pytest.fixture
def stray(bench: Bench) -> Callable[..., Path]:
    def make(days: float, *names: str, name: str = "") -> Path:
        path = bench.data.job(name or new_job_id())
        for entry in names or ("1/log", "upload.zip"):
            (path / entry).parent.mkdir(parents=True, exist_ok=True)
            (path / entry).touch()
        days_ago(bench, path, days)
        return path

    return make


async def test_interrupted_submissions_go_an_hour_after_the_last_write(
    bench: Bench, stray: Callable[..., Path]
) -> None:
    """Whatever is known of the clock. One whose row is there after all loses its mark."""
    kept = bench.data.job((await bench.storage.jobs.add(new_job(), max_queued=9)).id)
    days_ago(bench, stray(0, "1/log", UNCOMMITTED, name=kept.name), 1 / 12)
    old = stray(1 / 12, "1/log", UNCOMMITTED)
    arriving = [bench.data.incoming / new_job_id() for _ in range(2)]
    for path in arriving:
        (path / "1" / "workspace" / "a").mkdir(parents=True)
        days_ago(bench, path, 1 / 12)
    days_ago(bench, arriving[1] / "1" / "workspace" / "a", 1 / 48)
    for parent in (bench.data.jobs, bench.data.incoming):
        await bench.interrupted(parent)()
    assert list(bench.data.incoming.iterdir()) == arriving[1:]
    assert (kept.exists(), old.exists()) == (True, False)
    assert not (kept / UNCOMMITTED).exists()


async def test_old_directories_without_a_record_go_when_seen_twice(bench: Bench, stray: Callable[..., Path]) -> None:
    known = bench.data.job(await bench.ended(5))
    days_ago(bench, known, 200)
    old, young, submission = stray(91), stray(89), stray(1 / 48, "1/log", UNCOMMITTED)
    foreign, written = stray(200, name="notes"), stray(200)
    (written / "1" / "log").write_text("just now")
    os.utime(written / "1" / "log", times=(0, NOON.timestamp()))
    collect = bench.orphans()
    await collect()
    assert old.exists()
    await collect()
    assert not old.exists()
    assert all(path.exists() for path in (known, young, submission, foreign, written))


@pytest.mark.parametrize(
    ("environment", "step"),
    [({"CI_RETENTION": "30d,release=forever"}, 0), ({"CI_RETENTION_FAILED": "forever"}, 0), ({}, 3650)],
)
async def test_directories_without_a_record_stay(
    bench: Bench, stray: Callable[..., Path], environment: dict[str, str], step: int
) -> None:
    await bench.ended(5)
    path = stray(400)
    bench.now += timedelta(days=step)
    collect = bench.orphans(**environment)
    for _ in range(3):
        await collect()
    assert path.exists()


async def project(bench: Bench, name: str, **retention: str | int) -> None:
    settings = ProjectSettings.model_validate({"retention": retention})
    await bench.storage.projects.add(Project(name=name, created_time=NOON, created_by="alice", settings=settings))


async def test_the_retention_of_a_project_wins_over_the_settings(bench: Bench) -> None:
    await project(bench, "nightly", completed="7d", failed="7d")
    await project(bench, "release", completed="forever")
    await project(bench, "few", jobs=1)
    await project(bench, "plain")
    jobs = {
        (name, age): await bench.ended(age, F if name == "nightly" and age == 31 else S, project=name)
        for name in ("nightly", "release", "few", "plain", "other")
        for age in AGES
    }
    await bench.expire(CI_RETENTION="30d,nightly=60d")
    left = await bench.left()
    kept = {name: [age for age in AGES if jobs[name, age] in left] for name in ("nightly", "release", "few", "plain")}
    assert kept == {"nightly": [2], "release": AGES, "few": [2], "plain": [2, 8]}


async def test_a_project_that_gets_a_retention_for_uploads_loses_those_that_were_looked_at_before(bench: Bench) -> None:
    job_id = await bench.ended(8, project="nightly", has_upload=True)
    uploads = ExpiredUploads(bench.ages(CI_UPLOAD_RETENTION="10d"), bench.data, lambda: None)
    await bench.ended(2)
    await one_round(uploads)
    assert bench.data.upload(job_id).exists()
    await project(bench, "nightly", uploads="3d")
    await one_round(uploads)
    assert not bench.data.upload(job_id).exists()


async def test_old_entries_of_the_audit_go_and_the_chain_holds(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expired_jobs, "BATCH", 2)
    entry = command_entry("create_key", "ci keys create --admin")
    ages = (400, 399, 380, 364, 2, 0)
    await bench.storage.audit.add([replace(entry, time=to_micros(NOON - timedelta(days=age))) for age in ages])

    async def left(**environment: str) -> int:
        await one_round(OldAudit(bench.ages(**environment), bench.storage.audit, bench.lease))
        verified = await bench.storage.audit.verify()
        assert verified.broken is None
        return verified.entries

    assert await left() == 6, "no job shows that the clock is right"
    await bench.ended(days=2)
    assert await left(CI_AUDIT_RETENTION="forever") == 6
    assert await left() == 3
    assert await left(CI_AUDIT_RETENTION="1d") == 1


def test_the_audit_is_kept_as_a_whole() -> None:
    with pytest.raises(SettingsError, match="the audit is kept as a whole"):
        Settings.from_env({"CI_AUDIT_RETENTION": "30d,web=7d"})
