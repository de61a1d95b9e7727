"""All SQL but the schema and what `retention_queries` has: each statement has a name and a line on what it is for.

`jobs_unfinished` is a partial index, so whoever asks for unfinished jobs says `state <> 'completed'` as the index does.
"""

from collections.abc import Iterable
from functools import cache

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

# Whose database it is.
INSTALLATION = "SELECT id, data_path FROM installation"

# A database gets an owner, if the lease leads.
BIND = """
UPDATE installation SET id = :id, data_path = :data_path
WHERE EXISTS (SELECT 1 FROM lease WHERE lease.fence = :fence AND lease.holder = :holder)
"""

# A condition: the lease leads.
LEADS = "EXISTS (SELECT 1 FROM lease WHERE lease.fence = :fence AND lease.holder = :holder)"

# What a job has from its submission on.
NEW_JOB_COLUMNS = (
    *("id", "type", "submit_time", "priority", "project", "labels", "payload", "plan", "image", "has_upload"),
    *("max_attempts", "retry_of", "arrival", "reason_code", "reason_message"),
)

# How many jobs are queued.
QUEUE_LENGTH = "SELECT length FROM queue"

# What is counted, and who leads. Of the jobs only the active ones are looked at.
FIGURES = """
SELECT submitted, succeeded, failed, cancelled, timed_out, errored, retried, warm, cold, pull, ran, ran_micros,
    length AS queued, fence AS term, holder,
    (SELECT count(*) FROM jobs WHERE state <> 'completed' AND state = 'starting') AS starting,
    (SELECT count(*) FROM jobs WHERE state <> 'completed' AND state = 'running') AS running,
    (SELECT count(*) FROM removals) AS removals
FROM tally, queue, lease
"""

# How long the stages of jobs' paths took: the buckets that have any.
STAGES = "SELECT stage, way, up_to, jobs, micros FROM stages ORDER BY stage, way, up_to"

# One job.
GET_JOB = "SELECT * FROM jobs WHERE id = :id"

# Those of a JSON list of ids that exist.
GET_JOBS = "SELECT * FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))"

# Those that took one of a JSON list of waiting workloads.
GET_HOLDERS = """
SELECT * FROM jobs WHERE workload IS NOT NULL AND workload IN (SELECT value FROM json_each(:workloads))
"""

# What the leader tells of its pool.
GET_POOL = "SELECT state FROM pool"
SET_POOL = f"UPDATE pool SET state = :state WHERE {LEADS}"  # noqa: S608  # a statement of our own

# A line for each queued job, in the order in which they are to start: its id, and what tells whether it has changed.
# One text, because there may be ten thousand of them and mostly none has. All of it is in the index.
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

# The API's one later word on a job: the first request stands, and a completed job takes none.
REQUEST_CANCEL = """
UPDATE jobs SET cancel_requested_time = :now
WHERE id = :id AND cancel_requested_time IS NULL AND state <> 'completed'
"""

# The controller's columns, all of them, if the lease leads and nobody has written since version :version was read.
_UPDATE_JOB = """
UPDATE jobs SET
    state = :state, version = version + 1, attempt = :attempt, reason_code = :reason_code,
    reason_message = :reason_message, not_before = :not_before, start_time = :start_time, start_boot = :start_boot,
    start_uptime = :start_uptime, end_time = :end_time, runtime = :runtime, start_way = :start_way,
    workload = :workload, trace = :trace, stop_code = :stop_code, conclusion = :conclusion, exit_code = :exit_code,
    result = :result, error = :error, steps = :steps, log_bytes = :log_bytes, log_sha256 = :log_sha256,
    earlier_attempts = :earlier_attempts
WHERE id = :id AND version = :version AND %s
RETURNING cancel_requested_time
"""
UPDATE_JOB = _UPDATE_JOB % LEADS

# Who leads, in every schema there ever was.
LEADER = "SELECT fence, holder FROM lease"

# Who leads, and what tells whether the lease has been renewed.
GET_LEASE = "SELECT fence, holder, renewal, seconds FROM lease"

# A new leader, with a fence above all earlier ones.
TAKE_LEASE = "UPDATE lease SET fence = fence + 1, holder = :holder, renewal = 0, seconds = :seconds"

# The present leader leads on.
RENEW_LEASE = "UPDATE lease SET renewal = renewal + 1, seconds = :seconds WHERE fence = :fence AND holder = :holder"

# The present leader stops.
RELEASE_LEASE = "UPDATE lease SET holder = NULL, seconds = NULL WHERE fence = :fence AND holder = :holder"

# Nobody leads in a copy.
FORGET_LEADER = "UPDATE lease SET holder = NULL, seconds = NULL"

# Everything in one file, without a write-ahead log; whoever opens it as a repository changes it back.
ONE_FILE = "PRAGMA journal_mode = DELETE"

SCHEMA_VERSION = "PRAGMA user_version"

# What is wrong with pages and rows, at most so many lines; one line `ok` where nothing is.
QUICK_CHECK = "PRAGMA quick_check(10)"

# The same, and every index against its table.
INTEGRITY_CHECK = "PRAGMA integrity_check(10)"

# Rows that name a row that is not there.
FOREIGN_KEY_CHECK = "PRAGMA foreign_key_check"

# Those of a JSON list of ids that are some job's.
KNOWN_JOBS = "SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))"

# The same, and those whose rows are gone and whose files are still to go.
JOBS_OR_REMOVALS = f"""
{KNOWN_JOBS} UNION SELECT job_id FROM removals WHERE job_id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608  # a statement of our own

# Which attempts took those of a JSON list of waiting workloads.
HOLDERS = """
SELECT workload, id, attempt FROM jobs
WHERE workload IS NOT NULL AND workload IN (SELECT value FROM json_each(:workloads))
"""

JOURNAL_MODE = "PRAGMA journal_mode"

# Who has not completed, and where it runs.
UNFINISHED = "SELECT id, attempt, state, runtime, start_time FROM jobs WHERE state <> 'completed'"

# The latest of the times that the newest and the last completed job bear.
NEWEST_TIME = """
SELECT max(instant) FROM (
    SELECT submit_time AS instant FROM jobs WHERE id = (SELECT max(id) FROM jobs)
    UNION ALL SELECT max(end_time) FROM jobs WHERE state = 'completed'
    UNION ALL SELECT max(start_time) FROM jobs WHERE state <> 'completed')
"""

# Completed jobs of a JSON list of ids go.
DELETE_COMPLETED = "DELETE FROM jobs WHERE state = 'completed' AND id IN (SELECT value FROM json_each(:ids))"

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


@cache
def insert_jobs(count: int) -> str:
    """Return the statement that stores so many new jobs; it takes their values one job after the other."""
    row = f"({', '.join('?' * len(NEW_JOB_COLUMNS))})"
    return f"INSERT INTO jobs ({', '.join(NEW_JOB_COLUMNS)}) VALUES {', '.join([row] * count)}"  # noqa: S608


def list_jobs(conditions: Iterable[str]) -> str:
    """Return the statement that lists jobs for which all the named `CONDITIONS` hold."""
    return _LIST_JOBS % (" AND ".join(CONDITIONS[name] for name in conditions) or "true")
