"""The jobs of one run: submitted and followed, several at once, each checked when it has ended and again at last."""

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from ci_client.aio import CiClient
from ci_selftest.checks import check_job
from ci_selftest.evidence import Evidence, Promise, Violation
from ci_selftest.jobrun import JobRun, Surroundings
from ci_selftest.plans import Way, job_plan
from ci_selftest.report import Outcome

LANES = 10
"""How many jobs are submitted and followed at once; more than there are slots, so that some wait."""
_PAUSE_SECONDS = 0.2
_LAST_LOOK_SECONDS = 10.0
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class _Told:
    """What was told of a completed job; it never changes again."""

    conclusion: str
    exit_code: int | None
    log_bytes: int
    log_sha256: str


class Load:
    """Takes the seed's jobs in their order, and writes into `outcome` what became of them."""

    def __init__(self, around: Surroundings, outcome: Outcome, note: Callable[[str], None]) -> None:
        self._around = around
        self._outcome = outcome
        self._note = note
        self._numbers = itertools.count(1)
        self._under_way: dict[int, JobRun] = {}
        self._ended: dict[int, JobRun] = {}
        self._told: dict[int, _Told] = {}
        self._hits: set[str] = set()
        self._lanes: list[asyncio.Task[None]] = []
        self._last: int | None = None
        self._closing = False

    def note_hit(self, job_id: str) -> None:
        """Note that what runs a job is hit from outside."""
        self._hits.add(job_id)

    @property
    def under_way(self) -> int:
        """How many jobs are being submitted or followed."""
        return len(self._under_way)

    def start(self, *, last: int | None = None) -> None:
        """Begin to submit jobs, up to the one with the number `last`, else until `settle`."""
        self._last = last
        self._lanes = [asyncio.create_task(self._lane(), name=f"lane {n}") for n in range(LANES)]

    async def done(self) -> None:
        """Return when the last job has ended."""
        await asyncio.gather(*self._lanes)

    async def settle(self, within: float) -> None:
        """Submit no more; wait for what is under way, and give up on what does not end `within` seconds."""
        self._closing = True
        _, pending = await asyncio.wait(self._lanes, timeout=within)
        for lane in pending:
            lane.cancel()
        await asyncio.gather(*self._lanes)

    async def stop(self) -> None:
        """Leave everything as it is."""
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    async def take_stock(self, client: CiClient, within: float) -> list[str]:
        """Hold the server's list against what was submitted, and return the ids of all jobs there are.

        What was cut before its answer is looked for; whatever of that became a job is waited for and checked, too.
        """
        listed = await client.list_jobs(limit=_ALL, project=self._around.project)
        ids: dict[int, list[str]] = {}
        for job in listed:
            ids.setdefault(int(job["labels"]["number"]), []).append(job["job_id"])
        for number, run in self._ended.items():
            await self._compare(run, ids.pop(number, []), within)
        for number, unknown in ids.items():
            self._found(Promise.RUN_TWICE, unknown[0], f"nobody submitted number {number} of it")
        return [job["job_id"] for job in listed]

    async def look_again(self) -> None:
        """Read every job and its log once more: they are as they were when it had completed."""
        for number, before in self._told.items():
            evidence = self._ended[number].evidence
            await self._ended[number].look_again()
            now = _told(evidence)
            self._outcome.read += before.log_bytes
            self._outcome.readers += 1
            if evidence.log is None or now is None:
                trouble = evidence.trouble or "it has no log"
                self._found(Promise.FORGOTTEN, str(evidence.job_id), f"read again, the answer is: {trouble}")
            elif now != before or now.log_bytes != len(evidence.log):
                self._found(Promise.WRONG_VERDICT, str(evidence.job_id), f"it was {before}, and read again it is {now}")
            elif hashlib.sha256(evidence.log).hexdigest() != now.log_sha256:
                self._found(Promise.LOST, str(evidence.job_id), "its log, read again, is another")
            evidence.log = None

    def with_uploads(self) -> list[str]:
        """Return the ids of the jobs that came with an upload."""
        runs = self._ended.values()
        return [r.evidence.job_id for r in runs if r.evidence.job_id and r.plan.way in (Way.UPLOAD, Way.SUBMIT)]

    async def _lane(self) -> None:
        while not self._closing:
            number = next(self._numbers)
            if self._last is not None and number > self._last:
                return
            run = self._under_way[number] = JobRun(job_plan(self._around.seed, number), self._around)
            try:
                await run.carry_out()
            except asyncio.CancelledError:
                self._closing = True
                await self._last_look(run)
            finally:
                self._ended[number] = self._under_way.pop(number)
            self._check(run)
            if run.evidence.refusal:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _last_look(self, run: JobRun) -> None:
        if run.evidence.job_id is None:
            return
        try:
            await asyncio.wait_for(run.look_again(), _LAST_LOOK_SECONDS)
        except TimeoutError:
            run.evidence.trouble = f"no answer within {_LAST_LOOK_SECONDS:.0f} s"

    async def _compare(self, run: JobRun, ids: list[str], within: float) -> None:
        evidence = run.evidence
        if len(ids) > 1:
            self._found(Promise.RUN_TWICE, ids[0], f"one submission became {len(ids)} jobs: {', '.join(ids)}")
        if evidence.job_id is not None:
            if evidence.job_id not in ids:
                self._found(
                    Promise.FORGOTTEN, evidence.job_id, "it was acknowledged, and is not among the server's jobs"
                )
            return
        if not evidence.refusal:
            self._outcome.uncertain["accepted" if ids else "not accepted"] += 1
        if ids:
            evidence.job_id = ids[0]
            await run.wait_for_end(within)
            self._check(run)

    def _check(self, run: JobRun) -> None:
        """Check a job that was submitted and followed, or given up."""
        evidence = run.evidence
        if evidence.job_id is None:
            self._outcome.refused += bool(evidence.refusal)
            return
        evidence.was_hit = evidence.job_id in self._hits
        for violation in check_job(evidence):
            self._outcome.violations.append(violation)
            self._note(f"{violation.promise}: {violation.subject}: {violation.detail}")
        told = _told(evidence)
        if told is not None:
            self._told[run.plan.number] = told
            self._outcome.jobs[told.conclusion] += 1
            self._outcome.written += told.log_bytes
        self._outcome.readers += len(evidence.readings)
        self._outcome.connections += sum(reading.connections for reading in evidence.readings)
        self._outcome.read += sum(len(reading.data) for reading in evidence.readings)
        evidence.readings.clear()
        evidence.log = None

    def _found(self, promise: Promise, subject: str, detail: str) -> None:
        self._outcome.violations.append(Violation(promise, subject, detail))
        self._note(f"{promise}: {subject}: {detail}")


def _told(evidence: Evidence) -> _Told | None:
    job = evidence.job
    if job is None or job["status"] != "completed":
        return None
    return _Told(job["conclusion"], job["exit_code"], job["log_bytes"] or 0, job["log_sha256"] or "")
