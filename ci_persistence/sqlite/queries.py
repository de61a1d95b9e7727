"""All SQL but the schema: each statement has a name and a line on what it is for.

Some indexes are partial: a query for unfinished jobs must say `state <> 'completed'` in these words, and one for
completed jobs `state = 'completed'`, or SQLite does not use them.
"""

from collections.abc import Iterable
from typing import Any

from ci_common.jobs import State
from ci_common.times import to_micros
from ci_persistence.repository import JobFilter
from ci_persistence.retention import Ended
from ci_persistence.sqlite.rows import NEW_JOB_COLUMNS, to_json

# Readers do not wait for the writer, a crash loses no acknowledged commit, and a burst leaves no huge -wal file behind.
# What a statement of many rows would need to be undone is kept in memory: by default it goes into a file for each.
CONFIGURE_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
)

# A reader that writes is a mistake.
CONFIGURE_READER = ("PRAGMA query_only = ON",)

BEGIN = "BEGIN IMMEDIATE"
# Several reads that see the same.
BEGIN_READING = "BEGIN DEFERRED"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

# A number that changes when another connection, of whatever process, has committed.
DATA_VERSION = "PRAGMA data_version"

# A read that needs the file.
PING = "SELECT fence FROM lease"

# A condition: the lease leads.
LEADS = "EXISTS (SELECT 1 FROM lease WHERE lease.fence = :fence AND lease.holder = :holder)"
ASK_LEADS = f"SELECT {LEADS} AS leads"

# The installation that owns the database.
INSTALLATION = "SELECT id, data_path FROM installation"

# Sets that installation, if the lease leads.
BIND = f"UPDATE installation SET id = :id, data_path = :data_path WHERE {LEADS}"  # noqa: S608  # a statement of our own

# A new job, if the queue is not full.
INSERT_JOB = f"""
INSERT INTO jobs ({", ".join(NEW_JOB_COLUMNS)}) SELECT {", ".join(f":{name}" for name in NEW_JOB_COLUMNS)}
WHERE (SELECT length FROM queue) < :max_queued
"""  # noqa: S608  # a statement of our own

# How many jobs are queued.
QUEUE_LENGTH = "SELECT length FROM queue"

# The counters, the present numbers and the leader. Of the jobs it reads only the active ones, in their index.
METRICS = """
SELECT submitted, succeeded, failed, cancelled, timed_out, errored, retried, warm, cold, pull, ran, ran_micros,
    length AS queued, fence AS term, holder,
    (SELECT count(*) FROM jobs WHERE state <> 'completed' AND state = 'starting') AS starting,
    (SELECT count(*) FROM jobs WHERE state <> 'completed' AND state = 'running') AS running,
    (SELECT count(*) FROM removals) AS removals
FROM counters, queue, lease
"""

# The histograms of how long stages took: the buckets that have any job.
STAGE_TIMES = "SELECT stage, way, bound, jobs, micros FROM stage_times ORDER BY stage, way, bound"

# One more job in a bucket.
COUNT_STAGE = """
INSERT INTO stage_times VALUES (:stage, :way, :bound, 1, :micros)
ON CONFLICT (stage, way, bound) DO UPDATE SET jobs = jobs + 1, micros = micros + excluded.micros
"""

# One job.
GET_JOB = "SELECT * FROM jobs WHERE id = :id"

# Those of a JSON list of ids that exist.
GET_JOBS = "SELECT * FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))"

# What the leader publishes about its pool.
GET_POOL = "SELECT state FROM pool"
SET_POOL = f"UPDATE pool SET state = :state WHERE {LEADS}"  # noqa: S608  # a statement of our own

# A line for each queued job, in starting order: its id, and what changes with every change of the job.
# One text, because there may be ten thousand lines and usually none has changed. All of it is in the index.
QUEUED_KEYS = """
SELECT coalesce(group_concat(key, char(10)), '') AS keys FROM (
    SELECT id || ' ' || version || ' ' || coalesce(cancel_requested_time, '') AS key FROM jobs
    WHERE state <> 'completed' AND state = 'queued' ORDER BY priority DESC, id)
"""

# The same for the jobs that hold a slot.
ACTIVE_KEYS = """
SELECT coalesce(group_concat(key, char(10)), '') AS keys FROM (
    SELECT id || ' ' || version || ' ' || coalesce(cancel_requested_time, '') AS key FROM jobs
    WHERE state <> 'completed' AND state IN ('starting', 'running'))
"""

# The API's one later write to a job: the first request stands, and a completed job takes none.
REQUEST_CANCEL = """
UPDATE jobs SET cancel_requested_time = :now
WHERE id = :id AND cancel_requested_time IS NULL AND state <> 'completed'
"""

# All of the controller's columns, if the lease leads and the row still has version :version.
UPDATE_JOB = f"""
UPDATE jobs SET
    state = :state, version = version + 1, attempt = :attempt, reason_code = :reason_code,
    reason_message = :reason_message, not_before = :not_before, start_time = :start_time, start_boot = :start_boot,
    start_uptime = :start_uptime, end_time = :end_time, runtime = :runtime, start_way = :start_way,
    trace = :trace, stop_code = :stop_code, conclusion = :conclusion, exit_code = :exit_code,
    result = :result, error = :error, steps = :steps, log_bytes = :log_bytes, log_sha256 = :log_sha256,
    earlier_attempts = :earlier_attempts
WHERE id = :id AND version = :version AND {LEADS}
RETURNING cancel_requested_time
"""  # noqa: S608  # a statement of our own

# Who leads, in the words of every schema.
LEADER = "SELECT fence, holder FROM lease"

# Who leads, and what changes when the lease is renewed.
GET_LEASE = "SELECT fence, holder, renewal, seconds FROM lease"

# A new leader, with a fence above all earlier ones.
TAKE_LEASE = "UPDATE lease SET fence = fence + 1, holder = :holder, renewal = 0, seconds = :seconds"

# The present leader leads longer.
RENEW_LEASE = "UPDATE lease SET renewal = renewal + 1, seconds = :seconds WHERE fence = :fence AND holder = :holder"

# The present leader stops.
RELEASE_LEASE = "UPDATE lease SET holder = NULL, seconds = NULL WHERE fence = :fence AND holder = :holder"

# No controller leads in a copy.
FORGET_LEADER = "UPDATE lease SET holder = NULL, seconds = NULL"

# Everything in one file, without a write-ahead log; opening it as a repository changes it back.
ONE_FILE = "PRAGMA journal_mode = DELETE"

SCHEMA_VERSION = "PRAGMA user_version"

# What is wrong with pages and rows, at most so many lines; one line `ok` where nothing is.
QUICK_CHECK = "PRAGMA quick_check(10)"

# The same, and every index against its table.
INTEGRITY_CHECK = "PRAGMA integrity_check(10)"

# Rows that name a row that does not exist.
FOREIGN_KEY_CHECK = "PRAGMA foreign_key_check"

# Those of a JSON list of ids that have a row.
KNOWN_JOBS = "SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))"

# The same, and those of deleted jobs that still have a removal.
JOBS_OR_REMOVALS = f"""
{KNOWN_JOBS} UNION SELECT job_id FROM removals WHERE job_id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608  # a statement of our own

JOURNAL_MODE = "PRAGMA journal_mode"

# The unfinished jobs, and where they run.
UNFINISHED = "SELECT id, attempt, state, runtime, start_time FROM jobs WHERE state <> 'completed'"

# The latest time in any row: that of the newest job, the last completed one, or an active one.
NEWEST_TIME = """
SELECT max(instant) FROM (
    SELECT submit_time AS instant FROM jobs WHERE id = (SELECT max(id) FROM jobs)
    UNION ALL SELECT max(end_time) FROM jobs WHERE state = 'completed'
    UNION ALL SELECT max(start_time) FROM jobs WHERE state <> 'completed')
"""

# Deletes those of a JSON list of jobs that have completed.
DELETE_COMPLETED = "DELETE FROM jobs WHERE state = 'completed' AND id IN (SELECT value FROM json_each(:ids))"

# The same for a database in use. A trigger leaves a removal for each.
_DELETE_JOBS = """
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'completed' AND %s RETURNING id
"""
DELETE_JOBS = _DELETE_JOBS % "true"
DELETE_JOBS_AS_LEADER = _DELETE_JOBS % LEADS

# Some of the removals.
LIST_REMOVALS = "SELECT job_id, runtimes FROM removals WHERE job_id > :after ORDER BY job_id LIMIT :limit"

# How many removals there are.
COUNT_REMOVALS = "SELECT count(*) AS number FROM removals"

# Deletes removals, if the lease leads.
_FORGET_REMOVALS = "DELETE FROM removals WHERE job_id IN (SELECT value FROM json_each(:ids)) AND %s"
FORGET_REMOVALS = _FORGET_REMOVALS % LEADS

# Projects with many completed jobs.
CROWDED_PROJECTS = """
SELECT project FROM jobs WHERE state = 'completed' AND project IS NOT NULL GROUP BY project HAVING count(*) > :more_than
"""

# The completed jobs for which some conditions hold, in the order in which they ended.
_LIST_ENDED = "SELECT id FROM jobs WHERE state = 'completed'%s ORDER BY end_time, id LIMIT :limit"

# One more condition: the job is not among the newest. Where there are no others, this compares with NULL.
_OLDER_THAN_KEPT = """(end_time, id) <= (
    SELECT end_time, id FROM jobs WHERE state = 'completed'%s ORDER BY end_time DESC, id DESC LIMIT 1 OFFSET :keep)"""

# The conditions that choose jobs, of which the newest may be kept, and the span of time.
_CHOICES = {
    "project": "project = :project",
    "other_than": "(project IS NULL OR project NOT IN (SELECT value FROM json_each(:other_than)))",
    "conclusions": "conclusion IN (SELECT value FROM json_each(:conclusions))",
    "has_upload": "has_upload = :has_upload",
}
_SPAN = {"since": "end_time >= :since", "before": "end_time < :before"}

# The newest jobs for which some of CONDITIONS hold.
_LIST_JOBS = "SELECT * FROM jobs WHERE %s ORDER BY id DESC LIMIT :limit"

CONDITIONS = {
    "older_than": "id < :older_than",
    # Lets the planner use jobs_unfinished; goes with `states`.
    "unfinished": "state <> 'completed'",
    "states": "state IN (SELECT value FROM json_each(:states))",
    "conclusion": "conclusion = :conclusion",
    "type": "type = :type",
    "project": "project = :project",
    # There is no wanted label that the job does not have.
    "labels": """NOT EXISTS (
        SELECT 1 FROM json_each(:labels) AS wanted WHERE NOT EXISTS (
            SELECT 1 FROM json_each(jobs.labels) AS own WHERE own.key = wanted.key AND own.value = wanted.value))""",
    "text": r"""(id LIKE :text ESCAPE '\' OR project LIKE :text ESCAPE '\' OR error LIKE :text ESCAPE '\'
        OR payload LIKE :json_text ESCAPE '\' OR labels LIKE :json_text ESCAPE '\')""",
    "since": "submit_time >= :since",
    "before": "submit_time < :before",
}


def list_jobs(conditions: Iterable[str]) -> str:
    """Return the statement that lists jobs for which all the named `CONDITIONS` hold."""
    return _LIST_JOBS % (" AND ".join(CONDITIONS[name] for name in conditions) or "true")


def job_filter_values(where: JobFilter, older_than: str | None) -> dict[str, Any]:
    """Return the values of the CONDITIONS that narrow, by name; `json_text` comes with `text`."""
    values = {
        "older_than": older_than,
        "unfinished": (where.states and State.COMPLETED not in where.states) or None,
        "states": to_json(sorted(where.states)) if where.states else None,
        "conclusion": where.conclusion,
        "type": where.type,
        "project": where.project,
        "labels": to_json(where.labels) if where.labels else None,
        "text": _containing(where.text) if where.text else None,
        # Inside of JSON a quotation mark, a backslash and control characters are escaped.
        "json_text": _containing(to_json(where.text)[1:-1]) if where.text else None,
        "since": None if where.since is None else to_micros(where.since),
        "before": None if where.before is None else to_micros(where.before),
    }
    return {name: value for name, value in values.items() if value is not None}


def _containing(text: str) -> str:
    r"""Return the LIKE pattern, with `\` as its escape, for what contains `text`."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def list_ended(conditions: Iterable[str]) -> str:
    """Return the statement that lists the jobs for which all the named conditions hold; `keep` is one, too."""
    names = set(conditions)
    choices = "".join(f" AND {text}" for name, text in _CHOICES.items() if name in names)
    span = "".join(f" AND {text}" for name, text in _SPAN.items() if name in names)
    return _LIST_ENDED % (choices + span + (f" AND {_OLDER_THAN_KEPT % choices}" if "keep" in names else ""))


def ended_values(where: Ended) -> dict[str, Any]:
    """Return the values of the conditions that narrow, by their names in `list_ended`."""
    values = {
        "project": where.project,
        "other_than": to_json(sorted(where.other_than)) if where.other_than else None,
        "conclusions": to_json(sorted(where.conclusions)) if where.conclusions else None,
        "has_upload": 1 if where.with_upload else None,
        "since": None if where.since is None else to_micros(where.since),
        "before": None if where.before is None else to_micros(where.before),
        "keep": where.keep or None,
    }
    return {name: value for name, value in values.items() if value is not None}
