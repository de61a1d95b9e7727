"""What every `Storage` promises about how a project goes."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.attempts.columns import CaseColumns
from ci_common.attempts.testing import CaseResult, CaseStatus, CaseSummary
from ci_common.jobs import Conclusion, Job, State
from ci_persistence.reports import trends
from ci_persistence.reports.over_runs import CaseOrder
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.report_suite import case
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, bring, new_job

FAILED, SKIPPED = CaseStatus.FAILED, CaseStatus.SKIPPED


class TrendSuite(Base):
    async def test_a_trend_has_the_last_jobs_that_have_ended(self, storage: Storage, lease: Lease) -> None:
        first = await self._ended(storage, lease, 1, seconds=30, coverage={"lines": 8, "covered": 6})
        second = await self._ended(storage, lease, 2, conclusion=Conclusion.FAILED, labels={"a": "b", "c": "d"})
        cancelled = await storage.jobs.add(new_job(project="p"), max_queued=PLENTY)
        end = {"conclusion": Conclusion.CANCELLED, "end_time": NOON + timedelta(minutes=3)}
        await storage.jobs.update(cancelled, lease, state=State.COMPLETED, **end)
        await bring(storage, lease, await storage.jobs.add(new_job(project="p"), max_queued=PLENTY), State.RUNNING)
        await self._ended(storage, lease, 9, project="other")
        found = await storage.trends.jobs("p", {}, limit=10)
        assert [job.job_id for job in found] == [cancelled.id, second.id, first.id]
        told = [(job.conclusion, job.seconds, job.waited_seconds, job.tests, job.coverage) for job in found]
        assert told == [
            (Conclusion.CANCELLED, None, None, None, None),
            (Conclusion.FAILED, 10.0, 1.0, None, None),
            (Conclusion.SUCCEEDED, 30.0, 1.0, CaseSummary(total=1, passed=1), 75.0),
        ]
        assert [job.job_id for job in await storage.trends.jobs("p", {}, limit=1)] == [cancelled.id]
        assert [job.job_id for job in await storage.trends.jobs("p", {"a": "b"}, limit=9)] == [second.id]
        assert await storage.trends.jobs("p", {"a": "x"}, limit=9) == []
        assert await storage.trends.jobs("none", {}, limit=9) == []

    async def test_tests_are_counted_over_the_last_runs(
        self, storage: Storage, lease: Lease, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self._ran(storage, lease, 1, case(0, FAILED), case(1, seconds=50.0), case(2), case(3))
        await self._ran(storage, lease, 2, case(0, flaky=True), case(1, FAILED, seconds=3.0), case(3, FAILED))
        last = await self._ran(storage, lease, 3, case(0, FAILED, message="x"), case(1, seconds=1.0), case(2, SKIPPED))
        await self._ran(storage, lease, 4)  # Its reports have no tests.
        await self._ran(storage, lease, 5, case(7, FAILED, flaky=True), project="other")

        async def told(order: CaseOrder, runs: int = 10, limit: int = 10) -> list[tuple[str, int, int, int]]:
            _, tests = await storage.trends.cases("p", order, runs=runs, limit=limit)
            return [(each.name, totals.runs, totals.failed, totals.flaky) for each, totals in tests]

        assert await told("flaky") == [("test_0", 3, 2, 1)]
        assert await told("failing") == [("test_0", 3, 2, 1), ("test_1", 3, 1, 0), ("test_3", 2, 1, 0)]
        assert await told("failing", limit=1) == [("test_0", 3, 2, 1)]
        assert await told("slowest") == [("test_1", 3, 1, 0)]
        assert await told("failing", runs=2) == [("test_0", 1, 1, 0)], "the newest of two has no tests"
        runs, tests = await storage.trends.cases("p", "failing", runs=10, limit=10)
        assert runs == 4
        shown, totals = tests[0]
        assert (totals.last.run.job_id, shown.message, totals.passed, totals.mean) == (last.id, "x", 1, None)
        assert tests[1][1].mean == 18.0
        monkeypatch.setattr(trends, "MOST_CASES", 4)
        assert (await storage.trends.cases("p", "failing", runs=10, limit=10))[0] == 3

    async def test_a_test_is_the_same_in_jobs_of_all_owners(self, storage: Storage, lease: Lease) -> None:
        await self._ran(storage, lease, 1, case(0, FAILED, seconds=1.0))
        theirs = replace(case(0, FAILED, seconds=3.0), key="f" * 20)
        last = await self._ran(storage, lease, 2, theirs, owner="bob")
        _, [(shown, totals)] = await storage.trends.cases("p", "failing", runs=10, limit=10)
        assert (shown.key, totals.last.run.job_id) == (theirs.key, last.id)
        assert (totals.runs, totals.failed, totals.mean, totals.longest) == (2, 2, 2.0, 3.0)

    async def _ran(self, storage: Storage, lease: Lease, minute: int, *cases: CaseResult, **more: Any) -> Job:
        numbered = [replace(each, position=position) for position, each in enumerate(cases)]
        return await self._ended(storage, lease, minute, cases=numbered, **more)

    @staticmethod
    async def _ended(
        storage: Storage,
        lease: Lease,
        minute: int,
        *,
        seconds: int = 10,
        conclusion: Conclusion = Conclusion.SUCCEEDED,
        coverage: dict[str, int] | None = None,
        cases: list[CaseResult] | None = None,
        project: str = "p",
        **fields: Any,
    ) -> Job:
        """Return a job that ended so many minutes after noon, after so many seconds, and had waited for one."""
        end = NOON + timedelta(minutes=minute)
        submitted = new_job(project=project, submit_time=end - timedelta(seconds=seconds + 1), **fields)
        job = await storage.jobs.add(submitted, max_queued=PLENTY)
        await storage.reports.begin(job.id, 1, scope="s", content=None, lease=lease)
        if cases:
            await storage.reports.add(job.id, 1, CaseColumns.of(cases), lease)
        await storage.reports.finish(job.id, 1, {"coverage": coverage}, lease)
        job = await storage.jobs.update(job, lease, state=State.STARTING, runtime="process", reason=None)
        job = await storage.jobs.update(job, lease, state=State.RUNNING, start_time=end - timedelta(seconds=seconds))
        tests = CaseSummary(total=1, passed=1) if cases is not None or coverage else None
        ended = {"conclusion": conclusion, "end_time": end, "tests": tests}
        return await storage.jobs.update(job, lease, state=State.COMPLETED, **ended)
