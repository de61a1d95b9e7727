"""What every `Storage` promises about the results of tests."""

from dataclasses import replace

import pytest

from ci_common.attempts.columns import CaseColumns
from ci_common.attempts.testing import CaseChange, CaseResult, CaseStatus, CaseSummary
from ci_common.errors import LeadershipLost
from ci_common.jobs import Job, State, new_job_id
from ci_persistence.reports.choosing import CaseFilter
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base
from tests.helpers.jobs import new_job

SCOPE = "5" * 32


def case(position: int, status: CaseStatus = CaseStatus.PASSED, **more: object) -> CaseResult:
    result = CaseResult(
        position=position, key=f"{position:020x}", suite="s", class_name="c", name=f"test_{position}", status=status
    )
    return replace(result, **more)  # type: ignore[arg-type]


async def stored(
    storage: Storage, lease: Lease, *cases: CaseResult, content: str | None = None, job_id: str | None = None
) -> str:
    """Store tests for a job, which need not have a row, and return its id."""
    job_id = job_id or new_job_id()
    await storage.reports.begin(job_id, 1, scope=SCOPE, content=content, lease=lease)
    await storage.reports.add(job_id, 1, CaseColumns.of(cases), lease)
    await storage.reports.finish(job_id, 1, {"files": [], "coverage": None}, lease)
    return job_id


async def listed(storage: Storage, job_id: str, where: CaseFilter | None = None, **more: object) -> list[CaseResult]:
    options = {"order": "position", "limit": 100, "after": None} | more
    return await storage.reports.list_cases(job_id, 1, where or CaseFilter(), **options)  # type: ignore[arg-type]


class ReportSuite(Base):
    async def test_keeps_tests_whole_and_replaces_what_was_written_before(self, storage: Storage, lease: Lease) -> None:
        whole = case(
            1,
            CaseStatus.ERROR,
            seconds=0.125,
            file="a.py",
            line=3,
            message="it\nbroke",
            details="d" * 5000,
            output="😀",
            selector="a.py::test_1",
            flaky=True,
            change=CaseChange.STILL_FAILING,
            seconds_before=2.5,
        )
        job_id = await stored(storage, lease, case(0), whole, case(2))
        assert await listed(storage, job_id) == [case(0), whole, case(2)]
        await stored(storage, lease, case(0, CaseStatus.SKIPPED), job_id=job_id)
        assert await listed(storage, job_id) == [case(0, CaseStatus.SKIPPED)]
        assert await storage.reports.get(job_id, 1) == {"files": [], "coverage": None}
        assert await storage.reports.get(job_id, 2) == {}

    async def test_lists_by_what_is_asked_for(self, storage: Storage, lease: Lease) -> None:
        cases = [
            case(0, seconds=1.0, seconds_before=0.9),
            case(1, CaseStatus.FAILED, seconds=3.0, change=CaseChange.NEWLY_FAILING, file="tests/Cart.py"),
            case(2, CaseStatus.ERROR, name="needs_100%_of_it"),
            case(3, CaseStatus.SKIPPED),
            case(4, seconds=3.0, seconds_before=1.0, flaky=True, change=CaseChange.FIXED),
        ]
        job_id = await stored(storage, lease, *cases)

        async def found(where: CaseFilter, **more: object) -> list[int]:
            return [result.position for result in await listed(storage, job_id, where, **more)]

        broken = frozenset({CaseStatus.FAILED, CaseStatus.ERROR})
        assert await found(CaseFilter(broken)) == [1, 2]
        assert await found(CaseFilter(flaky=True)) == [4]
        assert await found(CaseFilter(change=CaseChange.NEWLY_FAILING)) == [1]
        assert await found(CaseFilter(slower=True)) == [4]
        assert await found(CaseFilter(text="100%_OF")) == [2]
        assert await found(CaseFilter(text="tests/cart")) == [1]
        assert await found(CaseFilter(text="C", statuses=broken)) == [1, 2]
        assert await found(CaseFilter(), order="time") == [1, 4, 0, 2, 3]
        assert await found(CaseFilter(), order="growth", limit=2) == [4, 0]
        assert await found(CaseFilter(), order="time", after=(3.0, 1)) == [4, 0, 2, 3]
        assert await found(CaseFilter(), after=(0.0, 2)) == [3, 4]

    async def test_knows_the_last_result_and_those_on_the_same_content(self, storage: Storage, lease: Lease) -> None:
        await stored(storage, lease, case(0, CaseStatus.FAILED, seconds=1.0), case(1), content="x")
        await stored(storage, lease, case(0, seconds=2.0), content="y")
        job_id = new_job_id()
        await stored(storage, lease, case(1, CaseStatus.FAILED), content="x")  # Of a later job.
        keys = [case(number).key for number in range(3)]

        async def compared(content: str | None) -> list[tuple[CaseChange | None, bool, float | None]]:
            """Compare a run in which the first test passes, and the others fail."""
            columns = CaseColumns.of([case(0), case(1, CaseStatus.ERROR), case(2, CaseStatus.FAILED)])
            comparison = await storage.reports.comparison(job_id, 1, scope=SCOPE, content=content)
            await storage.reports.look_further(comparison, keys)
            comparison.known.compare(columns)
            return [(each.change, each.flaky, each.seconds_before) for each in columns.cases(range(3))]

        new = CaseChange.NEWLY_FAILING
        assert await compared("x") == [(None, True, 2.0), (new, True, None), (new, False, None)]
        assert await compared("y") == [(None, False, 2.0), (new, False, None), (new, False, None)]
        assert await compared(None) == [(None, False, 2.0), (new, False, None), (new, False, None)]

    async def test_what_was_fixed_and_what_still_fails(self, storage: Storage, lease: Lease) -> None:
        await stored(storage, lease, case(0, CaseStatus.FAILED), case(1, CaseStatus.ERROR), case(2))
        columns = CaseColumns.of([case(0), case(1, CaseStatus.FAILED), case(2, CaseStatus.SKIPPED)])
        comparison = await storage.reports.comparison(new_job_id(), 1, scope=SCOPE, content=None)
        await storage.reports.look_further(comparison, columns.keys)
        comparison.known.compare(columns)
        assert [each.change for each in columns.cases(range(3))] == [CaseChange.FIXED, CaseChange.STILL_FAILING, None]

    async def test_a_page_of_many_tests_comes_from_the_rows_that_have_it(self, storage: Storage, lease: Lease) -> None:
        job_id = new_job_id()
        await storage.reports.begin(job_id, 1, scope=SCOPE, content=None, lease=lease)
        cases = [case(number, seconds=float(number % 700), file=f"{number // 10}.py") for number in range(2000)]
        for first in range(0, 2000, 500):
            await storage.reports.add(job_id, 1, CaseColumns.of(cases[first : first + 500]), lease)
        assert await listed(storage, job_id, limit=20, after=(0.0, 489)) == cases[490:510]
        longest = sorted(cases, key=lambda each: (-(each.seconds or 0), each.position))
        assert await listed(storage, job_id, order="time", limit=5) == longest[:5]
        assert await listed(storage, job_id, order="time", after=(699.0, 699), limit=5) == longest[1:6]
        assert await listed(storage, job_id, CaseFilter(text="/9.py")) == []
        assert [each.position for each in await listed(storage, job_id, CaseFilter(text="179.py"))] == [
            *range(1790, 1800)
        ]

    async def test_a_history_has_the_attempts_that_have_ended(self, storage: Storage, lease: Lease) -> None:
        jobs = []
        for _ in range(3):
            job = await storage.jobs.add(new_job(), max_queued=10)
            await stored(storage, lease, case(0, seconds=0.5), job_id=job.id)
            jobs.append(job)
        for job in jobs[:2]:
            await self._completed(storage, lease, job)
        found = await storage.reports.history(jobs[0].id, 1, case(0).key, limit=10)
        assert found is not None
        assert found[0] == case(0, seconds=0.5)
        assert [past.job_id for past in found[1]] == [jobs[1].id, jobs[0].id]
        assert await storage.reports.history(jobs[0].id, 1, case(1).key, limit=10) is None
        assert (await storage.jobs.get(jobs[0].id)).tests == CaseSummary(total=1, passed=1, seconds=0.5)

    @staticmethod
    async def _completed(storage: Storage, lease: Lease, job: Job) -> None:
        await storage.jobs.update(
            job,
            lease,
            state=State.COMPLETED,
            conclusion="succeeded",
            end_time=job.submit_time,
            tests=CaseSummary(total=1, passed=1, seconds=0.5),
        )

    async def test_the_coverage_of_the_last_job_of_the_scope(self, storage: Storage, lease: Lease) -> None:
        assert await storage.reports.last_coverage(SCOPE, new_job_id()) is None
        first = await stored(storage, lease, case(0))
        await storage.reports.finish(first, 1, {"coverage": {"lines": 1}}, lease)
        second = await stored(storage, lease, case(0))
        assert await storage.reports.last_coverage(SCOPE, second) == (first, {"coverage": {"lines": 1}})
        assert await storage.reports.last_coverage(SCOPE, first) is None
        assert await storage.reports.last_coverage("other", second) is None

    async def test_what_a_deleted_job_has_left_is_removed(self, storage: Storage, lease: Lease) -> None:
        kept, gone = await stored(storage, lease, case(0)), await stored(storage, lease, *map(case, range(4)))
        await storage.reports.add(gone, 1, CaseColumns.of([case(4), case(5)]), lease)
        await storage.reports.remove(gone, lease)
        await storage.reports.remove(gone, lease)
        assert await listed(storage, gone) == []
        assert await storage.reports.get(gone, 1) == {}
        assert await listed(storage, kept) == [case(0)]

    async def test_only_the_leader_writes(self, storage: Storage, lease: Lease) -> None:
        job_id = await stored(storage, lease, case(0))
        former = replace(lease, fence=lease.fence - 1)
        with pytest.raises(LeadershipLost):
            await storage.reports.begin(job_id, 1, scope=SCOPE, content=None, lease=former)
        with pytest.raises(LeadershipLost):
            await storage.reports.add(job_id, 1, CaseColumns.of([case(1)]), former)
        with pytest.raises(LeadershipLost):
            await storage.reports.finish(job_id, 1, {}, former)
        with pytest.raises(LeadershipLost):
            await storage.reports.remove(job_id, former)
        assert await listed(storage, job_id) == [case(0)]
