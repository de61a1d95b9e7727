"""All SQL but the schema: each statement has a name and a line on what it is for.

`jobs_unfinished` is a partial index, so whoever asks for unfinished jobs says `state <> 'completed'` as the index does.
"""

from collections.abc import Iterable

# Readers do not wait for the writer, a crash loses no acknowledged commit, and a burst leaves no huge -wal file behind.
CONFIGURE_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
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

INSTALLATION_ID = "SELECT id FROM installation"

# One more queued job, unless there are as many as allowed.
INSERT_JOB = """
INSERT INTO jobs (id, type, submit_time, priority, project, labels, payload, plan, image, has_upload, max_attempts,
                  retry_of, reason_code, reason_message)
SELECT :id, :type, :submit_time, :priority, :project, :labels, :payload, :plan, :image, :has_upload, :max_attempts,
       :retry_of, :reason_code, :reason_message
WHERE (SELECT length FROM queue) < :max_queued
"""

# One job.
GET_JOB = "SELECT * FROM jobs WHERE id = :id"

# Those of a JSON list of ids that exist.
GET_JOBS = "SELECT * FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))"

# Which jobs are queued, in the order in which they are to start, and what tells whether one has changed.
QUEUED_KEYS = """
SELECT id, version, cancel_requested_time FROM jobs
WHERE state <> 'completed' AND state = 'queued' ORDER BY priority DESC, id
"""

# The same for the jobs that hold a slot.
ACTIVE_KEYS = """
SELECT id, version, cancel_requested_time FROM jobs WHERE state <> 'completed' AND state IN ('starting', 'running')
"""

# The API's one later word on a job: the first request stands, and a completed job takes none.
REQUEST_CANCEL = """
UPDATE jobs SET cancel_requested_time = :now
WHERE id = :id AND cancel_requested_time IS NULL AND state <> 'completed'
"""

# The controller's columns, all of them, if the lease leads and nobody has written since version :version was read.
UPDATE_JOB = """
UPDATE jobs SET
    state = :state, version = version + 1, attempt = :attempt, reason_code = :reason_code,
    reason_message = :reason_message, not_before = :not_before, start_time = :start_time, start_boot = :start_boot,
    start_uptime = :start_uptime, end_time = :end_time, runtime = :runtime, stop_code = :stop_code,
    conclusion = :conclusion, exit_code = :exit_code, result = :result, error = :error, steps = :steps,
    log_bytes = :log_bytes, log_sha256 = :log_sha256, earlier_attempts = :earlier_attempts
WHERE id = :id AND version = :version
    AND EXISTS (SELECT 1 FROM lease WHERE lease.fence = :fence AND lease.holder = :holder)
RETURNING cancel_requested_time
"""

# Who leads, and what tells whether the lease has been renewed.
GET_LEASE = "SELECT fence, holder, renewal, seconds FROM lease"

# A new leader, with a fence above all earlier ones.
TAKE_LEASE = "UPDATE lease SET fence = fence + 1, holder = :holder, renewal = 0, seconds = :seconds"

# The present leader leads on.
RENEW_LEASE = "UPDATE lease SET renewal = renewal + 1, seconds = :seconds WHERE fence = :fence AND holder = :holder"

# The present leader stops.
RELEASE_LEASE = "UPDATE lease SET holder = NULL, seconds = NULL WHERE fence = :fence AND holder = :holder"

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
