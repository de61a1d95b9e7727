"""A leader that is stopped for longer than its lease, and goes on when another one leads: it changes nothing any more.

Stopped means SIGSTOP here. A machine that sleeps, or an event loop that something blocks, looks the same to it.
"""

from dataclasses import dataclass, replace

import pytest

from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import KEPT
from ci_controller.runtime.protocol import Runtime
from ci_persistence.storage import Storage
from tests.helpers.crash_points import Doomed, dying, play_each
from tests.helpers.databases import ON_BOTH
from tests.helpers.installation import Installation
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import stop
from tests.scenarios.invariants import Ending, but_for_its_path, check_invariants, is_cleared

pytestmark = ON_BOTH
LEASE_SECONDS = "2"
STANDS_BY = "this controller stands by"
STEPS = ("echo begin; echo end", "echo second; exit 5")
ENDING = Ending(Conclusion.FAILED, 5, b"begin\nend\nsecond\n")

BEFORE_IT_ACTS = [
    *("unfinished/1/after", "look/1/after", "look/2/after"),
    *("update/1/before", "update/2/before", "update/2/after", "update/3/before"),
    *("acquire/1/after", "renew/2/before"),
]
"""Points at which the next thing that a leader does is to make sure that it leads, or to write with proof of it."""

WITHIN_AN_ACT = [
    *("prepare/1/before", "create/1/before", "start/1/before", "opened_gate/1/before", "enter opened_gate/1/after"),
    *("clear/1/before", "delete_tree/1/before", "remove/1/before"),
]
"""Points between that and the act itself: what is done long after has to be harmless by itself."""


@pytest.fixture
def installation(installation: Installation) -> Installation:
    return replace(installation, environment={**installation.environment, "CI_LEASE_SECONDS": LEASE_SECONDS})


@dataclass(frozen=True)
class Snapshot:
    """All that a controller could have changed of one job."""

    job: Job
    files: dict[str, tuple[int, int]]
    workloads: frozenset[object]

    @classmethod
    async def take(cls, installation: Installation, storage: Storage, runtime: Runtime, job_id: str) -> "Snapshot":
        paths = [path for path in installation.data.jobs.rglob("*") if path.is_file()]
        files = {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths}
        return cls(await storage.jobs.get(job_id), files, frozenset(await runtime.list_workloads()))


async def stopped_at(installation: Installation, point: str) -> None:
    """Stop a leader at `point`, let another one finish its job, let the first go on, and check what it did then."""
    job = await installation.submit(*STEPS)
    async with installation.storage() as storage, dying(installation, point, stop) as former:
        await former.stopped()
        if installation.is_locked():
            # It is in the middle of a commit, and no other process can write until it goes on: another test has that.
            await stopped_at(installation.another("again"), point)
            return
        term = await present_term(storage)
        row = await storage.jobs.get(job.id)
        only_to_be_noted = row.state is State.COMPLETED and installation.files_left(row) <= KEPT
        async with installation.controller() as parts:
            runtime = parts.runtimes[installation.runtime]
            ended = await check_invariants(installation, storage, runtime, job.id, ENDING)
            await eventually(lambda: someone_leads_after(storage, term), "another one leads")
            if point in BEFORE_IT_ACTS and not only_to_be_noted:
                await eventually(lambda: is_cleared(storage, job.id), "the other one has done all there is to do")
            before = await Snapshot.take(installation, storage, runtime, job.id)
            former.go_on()
            await eventually(lambda: former.has_said(STANDS_BY), "the former leader stands by")
            if point in BEFORE_IT_ACTS:
                assert await Snapshot.take(installation, storage, runtime, job.id) == before
            elif not point.startswith("prepare/"):
                await check_invariants(installation, storage, runtime, job.id, ENDING)
        await leads_again(installation, storage, former, ended)


async def someone_leads_after(storage: Storage, term: int) -> bool:
    return await present_term(storage) > term


async def present_term(storage: Storage) -> int:
    held = await storage.leases.state()
    return 0 if held is None else held.fence


async def leads_again(installation: Installation, storage: Storage, former: Doomed, ended: Job) -> None:
    """Check that a controller that stands by leads again when no other does, and clears up what it left itself."""
    second = await installation.submit(*STEPS)
    async with installation.runtime_of_its_own() as runtime:
        await check_invariants(installation, storage, runtime, second.id, ENDING)
        again = await check_invariants(installation, storage, runtime, ended.id, ENDING)
        assert but_for_its_path(again) == but_for_its_path(ended)
    assert not former.has_ended()


async def test_what_a_leader_knew_of_an_earlier_term_counts_no_more_when_it_leads_again(
    installation: Installation,
) -> None:
    job = await installation.submit("trap 'exit 9' TERM; exec 2>/dev/null; echo begin; while :; do sleep 0.05; done")
    async with installation.storage() as storage, dying(installation, "create/1/after", stop) as former:
        await former.stopped()
        async with installation.controller():
            await eventually(lambda: installation.says(job, b"begin"), "the job runs, started by another one")
            former.go_on()
            await eventually(lambda: former.has_said(STANDS_BY), "the former leader stands by")
        await storage.jobs.request_cancel(job.id, job.submit_time)
        async with installation.runtime_of_its_own() as runtime:
            cancelled = Ending(Conclusion.CANCELLED, 9, b"begin\n")
            await check_invariants(installation, storage, runtime, job.id, cancelled)


@pytest.mark.parametrize("points", [BEFORE_IT_ACTS, WITHIN_AN_ACT], ids=["before_it_acts", "within_an_act"])
async def test_a_leader_that_was_stopped_harms_nobody(installation: Installation, points: list[str]) -> None:
    if installation.runtime == "docker" and points is BEFORE_IT_ACTS:
        points = ["look/1/after"]  # The others are the same on any runtime.

    async def case(number: int, point: str) -> None:
        await stopped_at(installation.another(f"case-{number}"), point)

    await play_each(points, case)
