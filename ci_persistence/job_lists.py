"""Lists of jobs: the conditions that narrow them, and the statement for each combination of these."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from ci_common.jobs import Conclusion, Job, State
from ci_common.times import to_micros
from ci_persistence.database import Session
from ci_persistence.decoding import select_jobs, to_job
from ci_persistence.dialects import Dialect, Statement
from ci_persistence.rows import to_json


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs `list_jobs` returns; None and empty do not narrow."""

    states: frozenset[State] = frozenset()
    conclusion: Conclusion | None = None
    type: str | None = None
    project: str | None = None
    projects: frozenset[str] | None = None
    """Any of these projects, and no job that belongs to none."""
    labels: dict[str, str] = field(default_factory=dict)
    """All of these labels, with these values."""
    text: str | None = None
    """Part of the id, project, payload, labels or error; case is ignored for ASCII."""
    since: datetime | None = None
    """Submitted then or later."""
    before: datetime | None = None
    """Submitted earlier."""


async def list_jobs(session: Session, *, where: JobFilter, limit: int, older_than: str | None) -> list[Job]:
    """Return at most `limit` jobs for which the filter holds, newest first; `older_than` as in `JobStore.list_jobs`."""
    values = _filter_values(where, older_than)
    statement = _listing(frozenset(values.keys() & CONDITIONS.keys()), where.states)
    return await session.decoded(to_job, await session.rows(statement, values | {"limit": limit}))


# Some indexes are partial: a query for unfinished jobs must say `state <> 'completed'` in these words, and one for
# completed jobs `state = 'completed'`, or SQLite does not use them.
CONDITIONS: dict[str, Callable[[Dialect], str]] = {
    "older_than": lambda _: "jobs.id < :older_than",
    # Lets the planner use jobs_unfinished, together with the states themselves.
    "unfinished": lambda _: "jobs.state <> 'completed'",
    "conclusion": lambda _: "jobs.conclusion = :conclusion",
    "type": lambda _: "jobs.type = :type",
    "project": lambda _: "jobs.project = :project",
    "projects": lambda sql: f"jobs.project IN {sql.members('projects')}",
    "labels": lambda sql: sql.has_labels("jobs.labels", "labels"),
    "text": lambda sql: (
        "("
        + " OR ".join(
            [sql.contains(f"jobs.{column}", "text") for column in ("id", "project", "error")]
            + [sql.contains(f"jobs.{column}", "json_text") for column in ("payload", "labels")]
        )
        + ")"
    ),
    "since": lambda _: "jobs.submit_time >= :since",
    "before": lambda _: "jobs.submit_time < :before",
}
"""The conditions that narrow a list of jobs."""


@cache
def _listing(names: frozenset[str], states: frozenset[State] = frozenset()) -> Statement:
    """Return the statement that lists the newest jobs in `states` for which all the named `CONDITIONS` hold.

    The states are in its text, since a planner does not know which index fits those in a parameter.
    """

    def text(sql: Dialect) -> str:
        conditions = [condition(sql) for name, condition in CONDITIONS.items() if name in names]
        if states:
            conditions.append(f"jobs.state IN ({_quoted(states)})")
        return f"{select_jobs(sql)} WHERE {' AND '.join(conditions) or 'true'} ORDER BY jobs.id DESC LIMIT :limit"

    return Statement(text)


def _quoted(states: Iterable[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


def _filter_values(where: JobFilter, older_than: str | None) -> dict[str, Any]:
    """Return the values of the CONDITIONS that narrow, by name; `json_text` comes with `text`."""
    values = {
        "older_than": older_than,
        "unfinished": (where.states and State.COMPLETED not in where.states) or None,
        "conclusion": where.conclusion,
        "type": where.type,
        "project": where.project,
        "projects": None if where.projects is None else to_json(sorted(where.projects)),
        "labels": to_json(where.labels) if where.labels else None,
        "text": containing(where.text) if where.text else None,
        # Inside of JSON a quotation mark, a backslash and control characters are escaped.
        "json_text": containing(to_json(where.text)[1:-1]) if where.text else None,
        "since": None if where.since is None else to_micros(where.since),
        "before": None if where.before is None else to_micros(where.before),
    }
    return {name: value for name, value in values.items() if value is not None}


def containing(text: str) -> str:
    r"""Return the LIKE pattern, with `\` as its escape, for what contains `text`."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
