"""Which promises were broken to one job: what there is to know goes in, violations come out, and nothing is done."""

import hashlib
from collections.abc import Iterator
from typing import Any

from ci_client.events import complete_event_of
from ci_client.exits import status_of_job
from ci_common.jobs import Conclusion, ReasonCode
from ci_selftest.jobs.evidence import Evidence, Promise, Violation
from ci_selftest.jobs.plans import LAST_WORD, JobPlan, Kind
from ci_selftest.jobs.readers import Reading

_SHOWN = 40


def check_job(evidence: Evidence) -> list[Violation]:
    """Return what is wrong with a job that was acknowledged or that the server has."""
    subject = evidence.job_id or f"job number {evidence.plan.number}"
    found = list(_found(evidence))
    return [Violation(promise, subject, f"number {evidence.plan.number}: {detail}") for promise, detail in found]


_Found = Iterator[tuple[Promise, str]]


def _found(evidence: Evidence) -> _Found:
    job = evidence.job
    if job is None:
        yield Promise.FORGOTTEN, f"the server does not know it: {evidence.trouble or 'it is not among its jobs'}"
        return
    if job["status"] != "completed":
        yield Promise.FORGOTTEN, f"it is {job['status']} ({job['reason']}) and does not complete"
        return
    if evidence.trouble:
        yield Promise.LOST, f"its log could not be read: {evidence.trouble}"
        return
    yield from _verdict(evidence, job)
    ran_twice = list(_starts(evidence, job))
    yield from ran_twice
    if not ran_twice:
        yield from _log(evidence, job)
    everything = b"".join([*evidence.earlier_logs, evidence.log or b""])
    for reading in evidence.readings:
        yield from _reading(reading, everything, job)
    yield from _exit_status(evidence, job)


def _starts(evidence: Evidence, job: dict[str, Any]) -> _Found:
    token, attempts = evidence.plan.token.encode(), job["attempt"]
    times = max(log.count(token) for log in [*evidence.earlier_logs, evidence.log or b""])
    if times > 1:
        yield Promise.RUN_TWICE, f"its code began {times} times in one attempt"
    elif (evidence.starts or 0) > attempts:
        yield Promise.RUN_TWICE, f"its code began {evidence.starts} times in {attempts} attempts"
    elif attempts > evidence.plan.max_attempts:
        yield Promise.RUN_TWICE, f"it is in attempt {attempts} of {evidence.plan.max_attempts} that were asked for"
    elif evidence.refusal:
        yield Promise.RUN_TWICE, f"its submission was refused ({evidence.refusal}), and it ran all the same"


def _verdict(evidence: Evidence, job: dict[str, Any]) -> _Found:
    plan, conclusion = evidence.plan, job["conclusion"]
    code = (job["reason"] or {}).get("code")
    if conclusion == plan.own_conclusion:
        yield from _own_end(plan, job)
        if job["attempt"] < plan.max_attempts:
            yield Promise.WRONG_VERDICT, f"it ended with attempt {job['attempt']} of {plan.max_attempts}"
    elif conclusion != plan.stopped_conclusion and not (
        evidence.was_hit and conclusion == Conclusion.ERRORED and code == ReasonCode.CONTAINER_LOST
    ):
        allowed = [str(c) for c in (plan.own_conclusion, plan.stopped_conclusion) if c is not None]
        hit = ", or errored (container_lost) since it was hit" if evidence.was_hit else ""
        yield Promise.WRONG_VERDICT, f"expected {' or '.join(allowed)}{hit}, got {conclusion} ({job['reason']})"
    for attempt in job["attempts"]:
        yield from _own_end(plan, attempt)
    for told, log in zip([*job["attempts"], job], [*evidence.earlier_logs, evidence.log or b""], strict=True):
        yield from _digest(told, log)


def _own_end(plan: JobPlan, told: dict[str, Any]) -> _Found:
    exit_codes = [step["exit_code"] for step in told["steps"]]
    expected = [0] * (len(plan.steps) - 1) + [plan.exit_code]
    # One that said itself that it had ended was in its last step then.
    allowed = [expected, [*expected[:-1], None]] if plan.kind is Kind.ESCAPING else [expected]
    if told["conclusion"] != plan.own_conclusion or told["exit_code"] != plan.exit_code or exit_codes not in allowed:
        yield (
            Promise.WRONG_VERDICT,
            f"attempt {told['attempt']}: expected {plan.own_conclusion} with exit code {plan.exit_code} from steps "
            f"{expected}, got {told['conclusion']} with {told['exit_code']} from {exit_codes}",
        )


def _digest(told: dict[str, Any], log: bytes) -> _Found:
    digest = hashlib.sha256(log).hexdigest()
    if (told["log_bytes"], told["log_sha256"]) != (len(log), digest):
        yield (
            Promise.WRONG_VERDICT,
            f"attempt {told['attempt']}: its log is said to have {told['log_bytes']} bytes with digest "
            f"{told['log_sha256']}, and it has {len(log)} with {digest}",
        )


def _log(evidence: Evidence, job: dict[str, Any]) -> _Found:
    """Hold the log against what the job says: all of it where it ended by itself, else the beginning of it."""
    plan, log = evidence.plan, evidence.log or b""
    for number, earlier in enumerate(evidence.earlier_logs, 1):
        yield from differences(plan.output, earlier, f"the log of attempt {number}")
    if job["conclusion"] == plan.own_conclusion:
        yield from differences(plan.output, log, "the log")
    else:
        said = _without_last_word(plan, log)
        if not plan.output.startswith(said):
            yield from differences(_nearest_beginning(plan.output, said), said, "the log of the stopped job")


def _without_last_word(plan: JobPlan, log: bytes) -> bytes:
    return log.removesuffix(LAST_WORD) if plan.kind in (Kind.CANCELLED, Kind.TIMED_OUT) else log


def _nearest_beginning(output: bytes, said: bytes) -> bytes:
    """Return the beginning of `output` that the job had got to, going by the end of what it said."""
    tail = said[-_SHOWN:]
    place = output.find(tail)
    return output[: place + len(tail)] if place >= 0 else output[: len(said)]


def _reading(reading: Reading, log: bytes, job: dict[str, Any]) -> _Found:
    name = f"the reader '{reading.reader}' ({reading.connections} connections)"
    if reading.problem:
        yield Promise.LOST, f"{name} could not go on: {reading.problem}"
    elif reading.complete is None:
        yield Promise.LOST, f"{name} was not told of the job's end, and has {len(reading.data)} of {len(log)} bytes"
    else:
        told = {key: reading.complete.get(key) for key in ("conclusion", "exit_code", "log_bytes", "log_sha256")}
        stored = {key: job.get(key) for key in told}
        if told != stored:
            yield Promise.WRONG_VERDICT, f"{name} was told {told}, and the job says {stored}"
    if not reading.problem:
        whole = log if reading.complete is not None else log[: len(reading.data)]
        yield from differences(whole, bytes(reading.data), name)


def _exit_status(evidence: Evidence, job: dict[str, Any]) -> _Found:
    if evidence.exit_status is not None:
        expected = status_of_job(complete_event_of(job))
        if evidence.exit_status != expected:
            yield Promise.WRONG_VERDICT, f"the command ended with {evidence.exit_status}, and {expected} would be true"


def differences(expected: bytes, got: bytes, name: str) -> _Found:
    """Yield what is missing in `got`, and what there is too much, around the first place where they differ."""
    if got == expected:
        return
    begin = _common_length(expected, got)
    shorter = min(len(expected), len(got)) - begin
    end = _common_length(expected[::-1][:shorter], got[::-1][:shorter])
    missing, extra = len(expected) - begin - end, len(got) - begin - end
    where = (
        f"at byte {begin} of {len(expected)}, where {expected[begin : begin + _SHOWN]!r} was expected "
        f"and {got[begin : begin + _SHOWN]!r} came"
    )
    if missing:
        yield Promise.LOST, f"{name} lacks {missing} bytes {where}"
    if extra:
        yield Promise.REPEATED, f"{name} has {extra} bytes too many {where}"


def _common_length(one: bytes, other: bytes) -> int:
    """Return how many bytes the two begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
