"""What every `Storage` promises about lists. An implementation subclasses it and gives `place`."""

from datetime import timedelta
from typing import Any

import pytest

from ci_common.jobs import Conclusion, Job, State
from ci_persistence.job_lists import JobFilter
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, bring, new_job


class ListingSuite(Base):
    @pytest.fixture
    async def jobs(self, storage: Storage, lease: Lease) -> list[Job]:
        """Return four jobs, newest first, one in each state."""
        fields: list[dict[str, Any]] = [
            {"type": "sleep", "project": "alpha", "labels": {"branch": "main", "os": "linux"}},
            {"project": "beta", "labels": {"branch": "main"}, "payload": {"text": 'say "hi"\n100%'}},
            {"project": "alpha", "labels": {"branch": "dev_1"}, "payload": {"text": "Ünder_score"}},
            {"payload": {"branch": "main"}},
        ]
        jobs = []
        for number, (state, given) in enumerate(zip(State, fields, strict=True)):
            new = new_job(submit_time=NOON + timedelta(hours=number), **given)
            jobs.append(await bring(storage, lease, await storage.jobs.add(new, max_queued=PLENTY), state))
        jobs[3] = await storage.jobs.update(jobs[3], lease, error="Disk is full")
        return jobs[::-1]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (JobFilter(), [0, 1, 2, 3]),
            (JobFilter(states=frozenset({State.QUEUED, State.STARTING})), [2, 3]),
            (JobFilter(states=frozenset({State.COMPLETED, State.QUEUED})), [0, 3]),
            (JobFilter(conclusion=Conclusion.SUCCEEDED), [0]),
            (JobFilter(conclusion=Conclusion.FAILED), []),
            (JobFilter(type="sleep"), [3]),
            (JobFilter(project="alpha"), [1, 3]),
            (JobFilter(labels={"branch": "main"}), [2, 3]),
            (JobFilter(labels={"branch": "main", "os": "linux"}), [3]),
            (JobFilter(labels={"branch": "linux"}), []),
            (JobFilter(text="DISK"), [0]),
            (JobFilter(text="r_s"), [1]),
            (JobFilter(text="v_1"), [1]),
            (JobFilter(text="v%1"), []),
            (JobFilter(text='"hi"\n100%'), [2]),
            (JobFilter(text="Ünd"), [1]),
            (JobFilter(text="alph"), [1, 3]),
            (JobFilter(since=NOON + timedelta(hours=2)), [0, 1]),
            (JobFilter(before=NOON + timedelta(hours=2)), [2, 3]),
            (JobFilter(project="alpha", states=frozenset({State.QUEUED}), text="linux", since=NOON), [3]),
        ],
    )
    async def test_filters(self, storage: Storage, jobs: list[Job], where: JobFilter, expected: list[int]) -> None:
        assert await storage.jobs.list_jobs(where, limit=10) == [jobs[number] for number in expected]

    async def test_finds_by_part_of_the_id(self, storage: Storage, jobs: list[Job]) -> None:
        assert await storage.jobs.list_jobs(JobFilter(text=jobs[2].id[9:].upper()), limit=10) == [jobs[2]]

    async def test_pages_cover_everything_once(self, storage: Storage, jobs: list[Job]) -> None:
        first = await storage.jobs.list_jobs(JobFilter(), limit=3)
        await storage.jobs.add(new_job(), max_queued=PLENTY)
        second = await storage.jobs.list_jobs(JobFilter(), limit=3, older_than=first[-1].id)
        assert first + second == jobs
        assert await storage.jobs.list_jobs(JobFilter(), limit=3, older_than=second[-1].id) == []
        assert await storage.jobs.list_jobs(JobFilter(project="alpha"), limit=9, older_than=jobs[1].id) == [jobs[3]]
