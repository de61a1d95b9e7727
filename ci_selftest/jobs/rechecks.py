"""What must hold at the end of a run: of the list of all jobs, and of every job when it is read once more."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_selftest.jobs.evidence import Evidence, Promise, Violation


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a completed job; it never changes again."""

    conclusion: str
    exit_code: int | None
    log_bytes: int
    log_sha256: str


def told_of(job: Mapping[str, Any] | None) -> Told | None:
    """Return what the job says of its end, or None where it has not completed."""
    if job is None or job["status"] != "completed":
        return None
    return Told(job["conclusion"], job["exit_code"], job["log_bytes"] or 0, job["log_sha256"] or "")


def check_listed(evidence: Evidence, ids: Sequence[str]) -> Iterator[Violation]:
    """Yield what is wrong with the list; `ids` are the jobs in it that came of this one submission."""
    number = evidence.plan.number
    if len(ids) > 1:
        detail = f"number {number}: one submission became {len(ids)} jobs: {', '.join(ids)}"
        yield Violation(Promise.RUN_TWICE, ids[0], detail)
    if evidence.job_id is not None and evidence.job_id not in ids:
        detail = f"number {number}: it was acknowledged, and is not among the server's jobs"
        yield Violation(Promise.FORGOTTEN, evidence.job_id, detail)


def check_unknown(ids: Sequence[str], number: int) -> Iterator[Violation]:
    """Yield that jobs are listed which nobody has submitted."""
    for job_id in ids:
        yield Violation(Promise.RUN_TWICE, job_id, f"nobody has submitted number {number}")


def check_again(before: Told, evidence: Evidence) -> Iterator[Violation]:
    """Yield what has changed, or gone, since the job completed; `evidence` holds what was read again."""
    subject, number = str(evidence.job_id), evidence.plan.number
    now = told_of(evidence.job)
    if now is None or evidence.log is None:
        answer = evidence.trouble or "it has not completed"
        yield Violation(Promise.FORGOTTEN, subject, f"number {number}: it had completed; read again: {answer}")
        return
    if now != before:
        yield Violation(Promise.WRONG_VERDICT, subject, f"number {number}: it was {before}; read again it is {now}")
    digest = hashlib.sha256(evidence.log).hexdigest()
    if digest != before.log_sha256:
        promise = Promise.REPEATED if len(evidence.log) > before.log_bytes else Promise.LOST
        detail = (
            f"number {number}: its log had {before.log_bytes} bytes; read again it has {len(evidence.log)}, {digest}"
        )
        yield Violation(promise, subject, detail)
