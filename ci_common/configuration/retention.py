"""The settings on retention: one value for all jobs, and others for some projects.

`30d`, `forever`, `30d,nightly=7d,release=forever`; for numbers of jobs `500`, `unlimited`, `500,nightly=50`.
"""

from typing import Annotated

from pydantic import PlainValidator

from ci_common.configuration.declaration import DeclaredSettings, setting
from ci_common.configuration.limits import Limit, parse_limit
from ci_common.jobs import Conclusion
from ci_common.parsing.values import decimal_number, parse_duration

FAILURES = frozenset({Conclusion.FAILED, Conclusion.TIMED_OUT, Conclusion.ERRORED})
"""The conclusions of jobs that people may still want to look into, and that are kept for longer."""

LONGEST_AGE = 100 * 365 * 86_400
"""The longest age that can be set, in seconds; there are no times before the year 1."""

_FOREVER = "forever"
_UNLIMITED = "unlimited"
_MOST_JOBS = 2**31


def _age(text: str) -> float | None:
    if text == _FOREVER:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= LONGEST_AGE:
        raise ValueError(f"{text!r} is not a retention period; write a duration (30d, 12h) or {_FOREVER}")
    return seconds


def _number(text: str) -> int | None:
    if text == _UNLIMITED:
        return None
    number = decimal_number(text)
    if not isinstance(number, int) or not 0 < number <= _MOST_JOBS:
        raise ValueError(f"{text!r} is not a number of jobs to keep; write one (1000) or {_UNLIMITED}")
    return number


def _one_number(value: object) -> Limit[int]:
    limit = parse_limit(value, _number)
    if limit.projects:
        raise ValueError(f"{limit.text!r} names projects; CI_MAX_JOBS_PER_PROJECT is for that")
    return limit


def _one_age(value: object) -> Limit[float]:
    limit = parse_limit(value, _age)
    if limit.projects:
        raise ValueError(f"{limit.text!r} names projects; the audit is kept as a whole")
    return limit


Ages = Annotated[Limit[float], PlainValidator(lambda value: parse_limit(value, _age))]
"""Retention periods in seconds, for all projects and for some."""
Age = Annotated[Limit[float], PlainValidator(_one_age)]
"""One retention period in seconds."""
Numbers = Annotated[Limit[int], PlainValidator(lambda value: parse_limit(value, _number))]
"""How many jobs of each project to keep, for all projects and for some."""
Number = Annotated[Limit[int], PlainValidator(_one_number)]
"""How many jobs to keep in all."""


class RetentionSettings(DeclaredSettings):
    """How long jobs are kept, and how many."""

    retention: Ages = setting(
        "CI_RETENTION", "30d", "how long completed jobs are kept, with their logs and uploads; forever is possible"
    )
    retention_failed: Ages = setting(
        "CI_RETENTION_FAILED", "90d", "the same for jobs that failed, timed out or errored, if it is longer"
    )
    upload_retention: Ages = setting(
        "CI_UPLOAD_RETENTION", "forever", "how long the upload of a completed job is kept, for `ci retry`"
    )
    artifacts_retention: Ages = setting(
        "CI_ARTIFACTS_RETENTION",
        "forever",
        "how long artifacts of a completed job are kept whose spec does not say, at most as long as the job",
    )
    max_jobs: Number = setting(
        "MAX_JOBS", "100000", "how many completed jobs are kept, the newest ones; unlimited is possible", "jobs"
    )
    max_jobs_per_project: Numbers = setting("CI_MAX_JOBS_PER_PROJECT", "unlimited", "the same for each project", "jobs")
    audit_retention: Age = setting(
        "CI_AUDIT_RETENTION", "365d", "how long entries of the audit are kept; forever is possible"
    )
