"""The SQL of deletion and retention: each statement has a name and a line on what it is for.

What asks for completed jobs says `state = 'completed'`, as the indexes `jobs_ended` and `jobs_ended_of_project` do.
"""

from collections.abc import Iterable

from ci_persistence.sqlite.queries import LEADS

ASK_LEADS = f"SELECT {LEADS} AS leads"

# Those of a JSON list of jobs that have completed. A trigger notes what they leave behind.
_DELETE_JOBS = """
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'completed' AND %s RETURNING id
"""
DELETE_JOBS = _DELETE_JOBS % "true"
DELETE_JOBS_AS_LEADER = _DELETE_JOBS % LEADS

# What deleted jobs have left behind, some at a time.
LIST_REMOVALS = "SELECT job_id, runtimes FROM removals WHERE job_id > :after ORDER BY job_id LIMIT :limit"

# How many jobs have left something.
COUNT_REMOVALS = "SELECT count(*) AS number FROM removals"

# What is gone now, if the lease leads.
_FORGET_REMOVALS = "DELETE FROM removals WHERE job_id IN (SELECT value FROM json_each(:ids)) AND %s"
FORGET_REMOVALS = _FORGET_REMOVALS % LEADS

# Projects with many completed jobs.
CROWDED_PROJECTS = """
SELECT project FROM jobs WHERE state = 'completed' AND project IS NOT NULL GROUP BY project HAVING count(*) > :more_than
"""

# The completed jobs for which some conditions hold, those first that ended first.
_LIST_ENDED = "SELECT id FROM jobs WHERE state = 'completed'%s ORDER BY end_time, id LIMIT :limit"

# One more condition: they are not among the newest. Where there are no others, this compares with NULL.
_OLDER_THAN_KEPT = """(end_time, id) <= (
    SELECT end_time, id FROM jobs WHERE state = 'completed'%s ORDER BY end_time DESC, id DESC LIMIT 1 OFFSET :keep)"""

# Which jobs are meant, and of which the newest may be kept.
_KINDS = {
    "project": "project = :project",
    "other_than": "(project IS NULL OR project NOT IN (SELECT value FROM json_each(:other_than)))",
    "conclusions": "conclusion IN (SELECT value FROM json_each(:conclusions))",
    "has_upload": "has_upload = :has_upload",
}
_SPAN = {"since": "end_time >= :since", "before": "end_time < :before"}


def list_ended(conditions: Iterable[str]) -> str:
    """Return the statement that lists the jobs for which all the named conditions hold; `keep` is one, too."""
    names = set(conditions)
    kinds = "".join(f" AND {text}" for name, text in _KINDS.items() if name in names)
    span = "".join(f" AND {text}" for name, text in _SPAN.items() if name in names)
    return _LIST_ENDED % (kinds + span + (f" AND {_OLDER_THAN_KEPT % kinds}" if "keep" in names else ""))
