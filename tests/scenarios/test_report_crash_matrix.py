"""The crash matrix of reports: kill -9 of the controller while it reads the tests of a job, compares and writes them.

Whatever dies, no test is there before the job has completed, and then each of them is there once.
"""

import re
from dataclasses import dataclass

from ci_common.attempts.testing import BROKEN, CaseChange, CaseSummary
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import KEPT
from ci_persistence.dialects import Statement
from ci_persistence.reports.choosing import CaseFilter
from ci_persistence.storage import Storage
from tests.helpers.crash_points import Doomed, dying, play_each
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation, completed
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into
from tests.scenarios.effects import is_effect

TESTS = 5_003
"""More than a reader hands over at once."""
LEAVE = f"""awk 'BEGIN {{
    print "<testsuites><testsuite name=\\"s\\">"
    for (i = 0; i < {TESTS - 1}; i++) print "<testcase classname=\\"c\\" name=\\"t" i "\\" time=\\"0.5\\"/>"
    print "<testcase classname=\\"c\\" name=\\"bad\\"><failure message=\\"it broke\\"/></testcase>"
    print "</testsuite></testsuites>"
}}' >"$CI_REPORTS/tests.xml"
printf 'SF:a.py\\nDA:1,1\\nDA:2,0\\nend_of_record\\n' >"$CI_REPORTS/lcov.info"
exit 1"""
READING = ("comparison/1/before", "comparison/1/after", "look_further/1/before", "look_further/2/after")
"""Points at which the reader is at work. They change nothing, so no other matrix has them."""
OF_REPORTS = re.compile(r"(begin|add|finish|update)/")
COVERED = {"begin/1/before", "add/1/before", "add/1/after", "add/2/after", "finish/1/before", "finish/1/after"}
_ROWS = Statement("SELECT count(*) AS number, sum(tests) AS tests FROM test_results WHERE job_id = :job_id")
_RUNS = Statement("SELECT count(*) AS number FROM test_runs WHERE job_id = :job_id")

pytestmark = ON_BOTH


@dataclass(frozen=True)
class Kept:
    """What the database has of the tests of a job, whether it is to be seen or not."""

    rows: int
    tests: int
    runs: int


async def kept(storage: Storage, job: Job) -> Kept:
    values = {"job_id": job.id}
    rows = await storage.database.read(lambda session: session.row(_ROWS, values))
    runs = await storage.database.read(lambda session: session.row(_RUNS, values))
    return Kept(rows["number"], rows["tests"] or 0, runs["number"])


async def check(storage: Storage, job: Job) -> None:
    """Check the tests of a job that has completed."""
    ended = await completed(storage, job.id)
    assert (ended.conclusion, ended.exit_code, ended.attempt) == ("failed", 1, 1)
    assert ended.tests == CaseSummary(total=TESTS, passed=TESTS - 1, failed=1, seconds=(TESTS - 1) / 2)
    assert await kept(storage, job) == Kept(rows=2, tests=TESTS, runs=1)
    reports = storage.reports
    found = await reports.list_cases(job.id, 1, CaseFilter(), order="position", limit=2 * TESTS, after=None)
    assert [case.name for case in found] == [*(f"t{number}" for number in range(TESTS - 1)), "bad"]
    (bad,) = await reports.list_cases(job.id, 1, CaseFilter(BROKEN), order="position", limit=9, after=None)
    assert (bad.message, bad.change) == ("it broke", CaseChange.NEWLY_FAILING)
    history = await reports.history(job.id, 1, bad.key, limit=9)
    assert history is not None
    assert [past.job_id for past in history[1]] == [job.id]
    assert (await reports.get(job.id, 1))["coverage"]["covered"] == 1


async def is_cleaned(installation: Installation, job: Job) -> None:
    await eventually(lambda: installation.files_left(job) <= KEPT, "the job is cleaned up")


async def record(installation: Installation) -> list[str]:
    """Return the points of a clean run at which reports are read and written, in order."""
    told = Into(installation.directory / "points")
    async with installation.storage() as storage, Doomed(installation, told):
        job = await installation.submit(LEAVE, project="p")
        await check(storage, job)
        await is_cleaned(installation, job)
    points = told.path.read_text().splitlines()
    assert set(points) >= {*READING, *COVERED}, points
    begun = points.index("comparison/1/before")
    return [point for point in points[begun:] if point in READING or (is_effect(point) and OF_REPORTS.match(point))]


async def test_a_controller_that_dies_leaves_each_test_once(installation: Installation) -> None:
    points = await record(installation.another("recording"))

    async def case(number: int, point: str) -> None:
        place = installation.another(f"case-{number}")
        async with place.storage() as storage:
            async with dying(place, point) as controller:
                job = await place.submit(LEAVE, project="p")
                assert await controller.end() == -9
            left = await storage.jobs.get(job.id)
            assert left.state is State.COMPLETED or left.tests is None, "tests are to be seen with the end, not before"
            async with place.controller():
                await check(storage, job)
                await is_cleaned(place, job)
                await storage.retention.delete([job.id])

                async def is_gone() -> bool:
                    return await kept(storage, job) == Kept(0, 0, 0)

                await eventually(is_gone, "its tests go with the job")

    await play_each(points, case)
