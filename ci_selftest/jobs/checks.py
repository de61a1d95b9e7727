"""Decides from the evidence which promises were broken. It has no side effects."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_client.events import complete_event_of
from ci_client.exits import status_of_job
from ci_common.jobs import Conclusion, ReasonCode
from ci_selftest.jobs.evidence import Evidence, Promise, Violation
from ci_selftest.jobs.plans import LAST_WORD, JobPlan, Kind
from ci_selftest.jobs.readers import Reading
from ci_selftest.jobs.surroundings import is_prepared

_SHOWN = 40
_TERMINATED = b"Terminated\n"


def check_job(evidence: Evidence) -> list[Violation]:
    """Return what is wrong with a job that was acknowledged, or that the server lists."""
    subject = evidence.job_id or f"job number {evidence.plan.number}"
    found = list(_found(evidence))
    return [Violation(promise, subject, f"number {evidence.plan.number}: {detail}") for promise, detail in found]


_Found = Iterator[tuple[Promise, str]]


def _found(evidence: Evidence) -> _Found:
    job = evidence.job
    if job is None:
        yield Promise.FORGOTTEN, f"the server does not know it: {evidence.trouble or 'it is not in its list'}"
        return
    if job["status"] != "completed":
        yield Promise.FORGOTTEN, f"it is {job['status']} ({job['reason']}) and does not complete"
        return
    if evidence.trouble:
        yield Promise.LOST, f"its log could not be read: {evidence.trouble}"
        return
    yield from _verdict(evidence, job)
    yield from _artifacts(evidence, job)
    yield from _tests(evidence, job)
    ran_twice = list(_starts(evidence, job))
    yield from ran_twice
    if not ran_twice:
        yield from _log(evidence, job)
    everything = b"".join([*evidence.earlier_logs, evidence.log or b""])
    for reading in evidence.readings:
        yield from _reading(reading, everything, job)
    yield from _exit_status(evidence, job)


def _artifacts(evidence: Evidence, job: dict[str, Any]) -> _Found:
    """Compare what is kept of the job with what it left, and with what the server says of it."""
    plan, kept = evidence.plan, evidence.artifacts or {}
    if job["conclusion"] == plan.own_conclusion and plan.own_exit_code is not None:
        expected = {path: hashlib.sha256(content).hexdigest() for path, content in plan.artifacts.items()}
        if kept != expected:
            yield Promise.LOST, f"its artifacts should be {expected}, but what was downloaded is {kept}"
    named = {one["path"]: one["sha256"] for one in job["artifacts"]}
    if kept != named:
        yield Promise.LOST, f"the server says that its artifacts are {named}, but what was downloaded is {kept}"


def _tests(evidence: Evidence, job: dict[str, Any]) -> _Found:
    """Compare the tests of the job with those of its report, and with what the server counts."""
    plan, tests = evidence.plan, evidence.tests or []
    if job["conclusion"] == plan.own_conclusion and plan.own_exit_code is not None:
        expected = plan.tests or []
        if missing := Counter(expected) - Counter(tests):
            yield (
                Promise.LOST,
                f"{missing.total()} of its {len(expected)} tests are missing, such as {next(iter(missing))}",
            )
        if extra := Counter(tests) - Counter(expected):
            yield (
                Promise.REPEATED,
                f"{extra.total()} tests are there that are not in its report, such as {next(iter(extra))}",
            )
    counts = job["tests"]
    counted = {name: 0 if counts is None else counts[name] for name in ("total", "passed", "failed")}
    listed = Counter(status for _, status in tests)
    if counted != {"total": len(tests), "passed": listed["passed"], "failed": listed["failed"]}:
        yield Promise.WRONG_VERDICT, f"the server counts {counts}, but lists {len(tests)} tests: {dict(listed)}"


def _starts(evidence: Evidence, job: dict[str, Any]) -> _Found:
    token, attempts = evidence.plan.token.encode(), job["attempt"]
    times = max(log.count(token) for log in [*evidence.earlier_logs, evidence.log or b""])
    if times > 1:
        yield Promise.RUN_TWICE, f"its code began {times} times in one attempt"
    elif (evidence.starts or 0) > attempts:
        yield Promise.RUN_TWICE, f"its code began {evidence.starts} times in {attempts} attempts"
    elif attempts > evidence.plan.max_attempts:
        yield Promise.RUN_TWICE, f"it is in attempt {attempts}, but at most {evidence.plan.max_attempts} were requested"
    elif evidence.refusal:
        yield Promise.RUN_TWICE, f"its submission was refused ({evidence.refusal}), but it ran"


def _verdict(evidence: Evidence, job: dict[str, Any]) -> _Found:
    plan, conclusion = evidence.plan, job["conclusion"]
    code = (job["reason"] or {}).get("code")
    if conclusion == plan.own_conclusion:
        yield from _own_end(plan, job)
        if job["attempt"] < plan.max_attempts:
            yield Promise.WRONG_VERDICT, f"it ended with attempt {job['attempt']} of {plan.max_attempts}"
    elif conclusion != plan.stopped_conclusion and not _is_of_a_hit(evidence, conclusion, code):
        allowed = [str(c) for c in (plan.own_conclusion, plan.stopped_conclusion) if c is not None]
        hit = ", or errored since it was hit" if evidence.was_hit else ""
        yield Promise.WRONG_VERDICT, f"expected {' or '.join(allowed)}{hit}, got {conclusion} ({job['reason']})"
    if plan.kind in (Kind.UNSERVED, Kind.DESERTED) and not evidence.was_hit and code != ReasonCode.SERVICE_FAILED:
        yield Promise.WRONG_VERDICT, f"its service failed, but its reason is {job['reason']}"
    for attempt in job["attempts"]:
        yield from _own_end(plan, attempt)
    for record, log in zip([*job["attempts"], job], [*evidence.earlier_logs, evidence.log or b""], strict=True):
        yield from _digest(record, log)


def _is_of_a_hit(evidence: Evidence, conclusion: str, code: str | None) -> bool:
    codes = {ReasonCode.CONTAINER_LOST} | ({ReasonCode.SERVICE_FAILED} if evidence.plan.service else set())
    return evidence.was_hit and conclusion == Conclusion.ERRORED and code in codes


def _own_end(plan: JobPlan, record: dict[str, Any]) -> _Found:
    exit_codes = [step["exit_code"] for step in record["steps"] if step.get("status") != "skipped"]
    expected = plan.exit_codes
    # A job that wrote its own exit status was still in its last step.
    allowed = [expected, [*expected[:-1], None]] if plan.kind is Kind.ESCAPING else [expected]
    if (
        record["conclusion"] != plan.own_conclusion
        or record["exit_code"] != plan.own_exit_code
        or exit_codes not in allowed
    ):
        yield (
            Promise.WRONG_VERDICT,
            f"attempt {record['attempt']}: expected {plan.own_conclusion} with exit code {plan.own_exit_code} from "
            f"steps {expected}, got {record['conclusion']} with {record['exit_code']} from {exit_codes}",
        )


def _digest(record: dict[str, Any], log: bytes) -> _Found:
    digest = hashlib.sha256(log).hexdigest()
    if (record["log_bytes"], record["log_sha256"]) != (len(log), digest):
        yield (
            Promise.WRONG_VERDICT,
            f"attempt {record['attempt']}: its log should have {record['log_bytes']} bytes with digest "
            f"{record['log_sha256']}, but has {len(log)} with {digest}",
        )


def _log(evidence: Evidence, job: dict[str, Any]) -> _Found:
    """Compare the log with the planned output: with all of it if the job ended by itself, else with its beginning."""
    plan, log = evidence.plan, evidence.log or b""
    for number, earlier in enumerate(evidence.earlier_logs, 1):
        yield from differences(_nearest(plan.outputs(earlier), earlier), earlier, f"the log of attempt {number}")
    if job["conclusion"] == plan.own_conclusion:
        yield from differences(_nearest(plan.outputs(log), log), log, "the log")
        yield from _prepared(job, log)
    else:
        said = _without_last_word(plan, log)
        output = _nearest(plan.outputs(said), said)
        if not output.startswith(said):
            yield from differences(_nearest_beginning(output, said), said, "the log of the stopped job")


def _nearest(outputs: Sequence[bytes], log: bytes) -> bytes:
    """Return that of the possible outputs which has the longest beginning in common with the log."""
    return max(outputs, key=lambda output: _common_length(output, log))


def _prepared(job: dict[str, Any], log: bytes) -> _Found:
    hit = bool((job.get("environment") or {}).get("hit"))
    if hit != is_prepared(log):
        yield (
            Promise.WRONG_VERDICT,
            f"it says that its environment is {job['environment']}, and its log begins {log[:80]!r}",
        )


def _without_last_word(plan: JobPlan, log: bytes) -> bytes:
    if plan.service is not None:  # A shell that is no job's to prepare says so where the service was hit.
        log = log.removesuffix(_TERMINATED)
    return log.removesuffix(LAST_WORD) if plan.kind in (Kind.CANCELLED, Kind.TIMED_OUT, Kind.DESERTED) else log


def _nearest_beginning(output: bytes, said: bytes) -> bytes:
    """Return the part of `output` that the job had reached, judging by the end of what it wrote."""
    tail = said[-_SHOWN:]
    place = output.find(tail)
    return output[: place + len(tail)] if place >= 0 else output[: len(said)]


def _reading(reading: Reading, log: bytes, job: dict[str, Any]) -> _Found:
    name = f"the reader '{reading.reader}' ({reading.connections} connections)"
    if reading.problem:
        yield Promise.LOST, f"{name} failed: {reading.problem}"
    elif reading.complete is None:
        yield Promise.LOST, f"{name} did not receive the job's end, and has {len(reading.data)} of {len(log)} bytes"
    else:
        received = {key: reading.complete.get(key) for key in ("conclusion", "exit_code", "log_bytes", "log_sha256")}
        stored = {key: job.get(key) for key in received}
        if received != stored:
            yield Promise.WRONG_VERDICT, f"{name} received {received}, but the job says {stored}"
    if not reading.problem:
        whole = log if reading.complete is not None else log[: len(reading.data)]
        yield from differences(whole, bytes(reading.data), name)


def _exit_status(evidence: Evidence, job: dict[str, Any]) -> _Found:
    if evidence.exit_status is not None:
        expected = status_of_job(complete_event_of(job))
        if evidence.exit_status != expected:
            yield Promise.WRONG_VERDICT, f"the command ended with {evidence.exit_status} instead of {expected}"


def differences(expected: bytes, got: bytes, name: str) -> _Found:
    """Yield what is missing from `got` and what is too much, from the first difference on."""
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
    """Return the length of the common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True, slots=True)
class Verdict:
    """The reported end of a completed job, which must never change."""

    conclusion: str
    exit_code: int | None
    log_bytes: int
    log_sha256: str


def verdict_of(job: Mapping[str, Any] | None) -> Verdict | None:
    """Return the job's reported end, or None if it has not completed."""
    if job is None or job["status"] != "completed":
        return None
    return Verdict(job["conclusion"], job["exit_code"], job["log_bytes"] or 0, job["log_sha256"] or "")


def check_listed(evidence: Evidence, ids: Sequence[str]) -> Iterator[Violation]:
    """Yield what is wrong with the list of jobs; `ids` are its jobs from this one submission."""
    number = evidence.plan.number
    if len(ids) > 1:
        detail = f"number {number}: one submission became {len(ids)} jobs: {', '.join(ids)}"
        yield Violation(Promise.RUN_TWICE, ids[0], detail)
    if evidence.job_id is not None and evidence.job_id not in ids:
        detail = f"number {number}: it was acknowledged, but is not in the server's list"
        yield Violation(Promise.FORGOTTEN, evidence.job_id, detail)


def check_unknown(ids: Sequence[str], number: int) -> Iterator[Violation]:
    """Yield a violation for each listed job that was never submitted."""
    for job_id in ids:
        yield Violation(Promise.RUN_TWICE, job_id, f"number {number} was never submitted")


def check_again(before: Verdict, evidence: Evidence) -> Iterator[Violation]:
    """Yield what has changed since the job completed; `evidence` was read again."""
    subject, number = str(evidence.job_id), evidence.plan.number
    now = verdict_of(evidence.job)
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
