"""The jobs of one run: several at a time are submitted and followed, and each is checked at its end and at the end."""

import asyncio
import itertools
from collections.abc import Callable, Iterable

from ci_client.aio import CiClient
from ci_selftest.jobs.checks import Verdict, check_again, check_job, check_listed, check_unknown, verdict_of
from ci_selftest.jobs.evidence import Violation
from ci_selftest.jobs.job_run import JobRun, RunContext
from ci_selftest.jobs.plans import Way, job_plan
from ci_selftest.report import Outcome

LANES = 10
"""How many jobs are submitted and followed at a time: more than slots, so that some wait."""
_PAUSE_SECONDS = 0.2
_LAST_LOOK_SECONDS = 10.0
_ALL = 1_000_000


class Load:
    """Runs the seed's jobs in their order, and records their results in `outcome`."""

    def __init__(self, context: RunContext, outcome: Outcome, note: Callable[[str], None]) -> None:
        """`note` is called with every violation when it is found."""
        self._context = context
        self._outcome = outcome
        self._note = note
        self._numbers = itertools.count(1)
        self._under_way: dict[int, JobRun] = {}
        self._ended: dict[int, JobRun] = {}
        self._verdicts: dict[int, Verdict] = {}
        self._hits: set[str] = set()
        self._lanes: list[asyncio.Task[None]] = []
        self._last: int | None = None
        self._closing = False

    @property
    def under_way(self) -> int:
        """The number of jobs that are being submitted or followed."""
        return len(self._under_way)

    def note_hit(self, job_id: str) -> None:
        """Note that a job's workload is going to be hit from outside."""
        self._hits.add(job_id)

    def start(self, *, last: int | None = None) -> None:
        """Submit jobs up to the one with the number `last`, or until `settle`."""
        self._last = last
        self._lanes = [asyncio.create_task(self._lane(), name=f"lane {n}") for n in range(LANES)]

    async def done(self) -> None:
        """Wait until the last job has ended."""
        await asyncio.gather(*self._lanes)

    async def settle(self, within: float) -> None:
        """Submit no more jobs, and wait up to `within` seconds for those under way."""
        self._closing = True
        _, pending = await asyncio.wait(self._lanes, timeout=within)
        for lane in pending:
            lane.cancel()
        await asyncio.gather(*self._lanes)

    async def stop(self) -> None:
        """Stop submitting and following."""
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    async def compare_with_list(self, client: CiClient, within: float) -> None:
        """Compare the server's list with what was submitted.

        A submission that was refused, or whose connection broke, and that became a job all the same is waited for and
        checked, too. Raises ClientError.
        """
        ids: dict[int, list[str]] = {}
        for job in await client.list_jobs(limit=_ALL, project=self._context.project):
            ids.setdefault(int(job["labels"]["number"]), []).append(job["job_id"])
        for number, run in self._ended.items():
            listed = ids.pop(number, [])
            self._found(check_listed(run.evidence, listed))
            await self._check_unacknowledged(run, listed, within)
        for number, unknown in ids.items():
            self._found(check_unknown(unknown, number))

    async def read_again(self) -> None:
        """Read every job and its log once more, and compare them with what was read before."""
        for number, before in self._verdicts.items():
            run = self._ended[number]
            await run.read_again()
            self._found(check_again(before, run.evidence))
            self._outcome.readers += 1
            self._outcome.connections += 1
            self._outcome.read += len(run.evidence.log or b"")
            run.evidence.log = None

    def with_uploads(self) -> list[str]:
        """Return the ids of the jobs that came with an upload."""
        runs = self._ended.values()
        return [r.evidence.job_id for r in runs if r.evidence.job_id and r.plan.way in (Way.UPLOAD, Way.SUBMIT)]

    async def _lane(self) -> None:
        while not self._closing:
            number = next(self._numbers)
            if self._last is not None and number > self._last:
                return
            run = self._under_way[number] = self._run(number)
            try:
                await run.execute()
            except asyncio.CancelledError:
                self._closing = True
                await self._last_look(run)
            finally:
                self._ended[number] = self._under_way.pop(number)
            self._check(run)
            if run.evidence.job_id is None:
                await asyncio.sleep(_PAUSE_SECONDS)

    def _run(self, number: int) -> JobRun:
        has_services = self._context.service_image is not None
        return JobRun(job_plan(self._context.seed, number, has_services=has_services), self._context)

    async def _last_look(self, run: JobRun) -> None:
        if run.evidence.job_id is None:
            return
        try:
            await asyncio.wait_for(run.read_again(), _LAST_LOOK_SECONDS)
        except TimeoutError:
            run.evidence.trouble = f"no answer within {_LAST_LOOK_SECONDS:.0f} s"

    async def _check_unacknowledged(self, run: JobRun, listed: list[str], within: float) -> None:
        evidence = run.evidence
        if evidence.job_id is not None:
            return
        if not evidence.refusal:
            self._outcome.uncertain["accepted" if listed else "not accepted"] += 1
        if listed:
            evidence.job_id = listed[0]
            await run.wait_for_end(within)
            self._check(run)

    def _check(self, run: JobRun) -> None:
        """Check a job whose readers have ended or were given up, and release what they have read."""
        evidence, outcome = run.evidence, self._outcome
        if evidence.job_id is None:
            outcome.refused += bool(evidence.refusal)
            return
        evidence.was_hit = evidence.job_id in self._hits
        self._found(check_job(evidence))
        verdict = verdict_of(evidence.job)
        if verdict is not None:
            self._verdicts[run.plan.number] = verdict
            outcome.jobs[verdict.conclusion] += 1
            outcome.prepared += evidence.is_prepared
            outcome.served += run.plan.service is not None
            outcome.written += verdict.log_bytes
        outcome.readers += len(evidence.readings)
        outcome.connections += sum(reading.connections for reading in evidence.readings)
        outcome.read += sum(len(reading.data) for reading in evidence.readings)
        evidence.readings.clear()
        evidence.earlier_logs.clear()
        evidence.log = None

    def _found(self, violations: Iterable[Violation]) -> None:
        for violation in violations:
            self._outcome.violations.append(violation)
            self._note(f"{violation.promise}: {violation.subject}: {violation.detail}")
