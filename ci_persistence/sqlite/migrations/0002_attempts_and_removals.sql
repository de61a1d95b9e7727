-- Retries by policy, the reasons for stopping a job, deletion, and the place a database belongs to.
-- SQLite cannot change a CHECK, so the table is made anew; what is not explained here is as in 0001.

CREATE TABLE jobs_2 (
    -- The API's columns: what was asked for. Written once, by INSERT.
    id TEXT NOT NULL PRIMARY KEY,  -- UUIDv7: sorting by id is sorting by submission
    type TEXT NOT NULL,
    submit_time INTEGER NOT NULL CHECK (typeof(submit_time) = 'integer'),
    priority INTEGER NOT NULL CHECK (typeof(priority) = 'integer'),
    project TEXT,
    labels TEXT NOT NULL CHECK (json_valid(labels) AND json_type(labels) = 'object'),
    payload TEXT NOT NULL CHECK (json_valid(payload) AND json_type(payload) = 'object'),
    plan TEXT CHECK (plan IS NULL OR json_valid(plan) AND json_type(plan) = 'object'),
    image TEXT,
    has_upload INTEGER NOT NULL CHECK (has_upload IN (0, 1)),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    retry_of TEXT,

    -- The API's one later word: a stamp, set at most once.
    cancel_requested_time INTEGER CHECK (typeof(cancel_requested_time) IN ('integer', 'null')),

    -- The controller's columns: what became of it. Written by one compare-and-set statement; INSERT
    -- gives what a job begins with.
    state TEXT NOT NULL DEFAULT 'queued',
    version INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    reason_code TEXT,
    reason_message TEXT,
    not_before INTEGER CHECK (typeof(not_before) IN ('integer', 'null')),
    start_time INTEGER CHECK (typeof(start_time) IN ('integer', 'null')),
    start_boot TEXT,  -- the machine's boot at start_time, and its uptime in seconds then: a clock that nobody sets
    start_uptime REAL,
    end_time INTEGER CHECK (typeof(end_time) IN ('integer', 'null')),
    runtime TEXT,
    stop_code TEXT,
    conclusion TEXT,
    exit_code INTEGER,
    result TEXT,
    error TEXT,
    steps TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(steps) AND json_type(steps) = 'array'),
    log_bytes INTEGER,
    log_sha256 TEXT,
    earlier_attempts TEXT NOT NULL DEFAULT '[]'
        CHECK (json_valid(earlier_attempts) AND json_type(earlier_attempts) = 'array'),

    CONSTRAINT state_is_known CHECK (state IN ('queued', 'starting', 'running', 'completed')),
    CONSTRAINT conclusion_is_known CHECK (conclusion IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'errored')),
    CONSTRAINT conclusion_iff_completed CHECK ((conclusion IS NOT NULL) = (state = 'completed')),
    CONSTRAINT end_time_iff_completed CHECK ((end_time IS NOT NULL) = (state = 'completed')),
    CONSTRAINT start_time_once_running CHECK (start_time IS NOT NULL OR state <> 'running'),
    CONSTRAINT no_start_time_before_running CHECK (start_time IS NULL OR state IN ('running', 'completed')),
    CONSTRAINT no_runtime_while_queued CHECK (runtime IS NULL OR state <> 'queued'),
    CONSTRAINT digest_only_once_completed CHECK (log_sha256 IS NULL OR state = 'completed'),
    CONSTRAINT stop_is_ours CHECK (
        stop_code IN ('cancelled', 'deadline_exceeded', 'no_output', 'log_limit', 'workspace_limit')),
    CONSTRAINT no_stop_while_queued CHECK (stop_code IS NULL OR state <> 'queued'),
    CONSTRAINT exit_code_is_a_byte CHECK (exit_code BETWEEN 0 AND 255),
    CONSTRAINT success_is_zero CHECK (conclusion <> 'succeeded' OR coalesce(exit_code, 0) = 0),
    CONSTRAINT attempt_in_range CHECK (attempt BETWEEN 1 AND max_attempts),
    CONSTRAINT attempts_are_whole CHECK (json_array_length(earlier_attempts) = attempt - 1),
    CONSTRAINT reason_is_whole CHECK ((reason_code IS NULL) = (reason_message IS NULL)),
    CONSTRAINT log_bytes_not_negative CHECK (log_bytes >= 0)
);

INSERT INTO jobs_2 (
    id, type, submit_time, priority, project, labels, payload, plan, image, has_upload, max_attempts, retry_of,
    cancel_requested_time, state, version, attempt, reason_code, reason_message, not_before, start_time, end_time,
    runtime, stop_code, conclusion, exit_code, result, error, steps, log_bytes, log_sha256)
SELECT
    id, type, submit_time, priority, project, labels, payload, plan, image, has_upload, max_attempts, retry_of,
    cancel_requested_time, state, version, attempt, reason_code, reason_message, not_before, start_time, end_time,
    runtime, CASE stop_conclusion WHEN 'timed_out' THEN 'deadline_exceeded' ELSE stop_conclusion END, conclusion,
    exit_code, result, error, steps, log_bytes, log_sha256
FROM jobs;

DROP TABLE jobs;

ALTER TABLE jobs_2 RENAME TO jobs;

-- What the loop asks: the queued in starting order, and the active. It holds only jobs that have not completed, so it
-- stays small; a query must say `state <> 'completed'` in these words to be served by it.
-- Version and cancel request are in it because the loop asks at every wake-up which of the queued jobs have changed.
CREATE INDEX jobs_unfinished ON jobs (state, priority DESC, id, version, cancel_requested_time)
WHERE state <> 'completed';

-- The newest jobs of one project.
CREATE INDEX jobs_of_project ON jobs (project, id) WHERE project IS NOT NULL;

-- ci_common.jobs.TRANSITIONS, once more; a test holds the two together.
CREATE TRIGGER jobs_transitions BEFORE UPDATE OF state ON jobs
WHEN OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES
    ('queued', 'starting'), ('queued', 'completed'),
    ('starting', 'running'), ('starting', 'completed'), ('starting', 'queued'),
    ('running', 'completed'), ('running', 'queued'))
BEGIN
    SELECT RAISE(ABORT, 'jobs_transitions: this state may not follow the present one');
END;

-- A job's code starts at most once per attempt, so whoever queues it again begins another attempt, and only then.
CREATE TRIGGER jobs_attempts BEFORE UPDATE OF attempt, state ON jobs
WHEN NEW.attempt <> OLD.attempt + (OLD.state IN ('starting', 'running') AND NEW.state = 'queued')
BEGIN
    SELECT RAISE(ABORT, 'jobs_attempts: a new attempt begins when a job is queued again, and only then');
END;

CREATE TRIGGER jobs_asked_once BEFORE UPDATE OF
    id, type, submit_time, priority, project, labels, payload, plan, image, has_upload, max_attempts, retry_of ON jobs
BEGIN
    SELECT RAISE(ABORT, 'jobs_asked_once: what was asked for never changes');
END;

CREATE TRIGGER jobs_cancelled_once BEFORE UPDATE OF cancel_requested_time ON jobs
WHEN OLD.cancel_requested_time IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'jobs_cancelled_once: the first cancel request stands');
END;

-- What retention asks: those that ended longest ago, of all jobs or of a project. They hold all that is asked for, so that
-- no row has to be read; `state` is among it because SQLite does not conclude it from the index's own condition.
CREATE INDEX jobs_ended ON jobs (end_time, id, state, conclusion, project) WHERE state = 'completed';
CREATE INDEX jobs_ended_of_project ON jobs (project, end_time, id, state, conclusion)
WHERE state = 'completed' AND project IS NOT NULL;

CREATE TRIGGER queue_joined AFTER INSERT ON jobs WHEN NEW.state = 'queued'
BEGIN
    UPDATE queue SET length = length + 1;
END;

CREATE TRIGGER queue_passed AFTER UPDATE OF state ON jobs WHEN (OLD.state = 'queued') <> (NEW.state = 'queued')
BEGIN
    UPDATE queue SET length = length + (NEW.state = 'queued') - (OLD.state = 'queued');
END;

-- Jobs whose rows are gone and whose files and containers are still to go; the controller's to empty.
CREATE TABLE removals (
    job_id TEXT NOT NULL PRIMARY KEY,
    image TEXT,
    runtimes TEXT NOT NULL  -- the runtimes of all its attempts, as JSON
);

CREATE TRIGGER jobs_deleted_once_completed BEFORE DELETE ON jobs WHEN OLD.state <> 'completed'
BEGIN
    SELECT RAISE(ABORT, 'jobs_deleted_once_completed: a job that has not completed cannot be deleted');
END;

CREATE TRIGGER jobs_leave_removals AFTER DELETE ON jobs
BEGIN
    INSERT INTO removals SELECT OLD.id, OLD.image, json_group_array(DISTINCT runtime) FROM (
        SELECT OLD.runtime AS runtime
        UNION ALL SELECT json_extract(value, '$.runtime') FROM json_each(OLD.earlier_attempts)
    ) WHERE runtime IS NOT NULL;
END;

-- The data directory that the installation's id belongs to; NULL until a controller has been there. A copy of the
-- database elsewhere is another installation.
ALTER TABLE installation ADD COLUMN data_path TEXT;

-- Who leads. No instant stands here, since clocks are set and machines differ: a leader renews, which counts `renewal`
-- up, and whoever sees it stand still for `seconds` of their own knows that the lease has run out.
CREATE TABLE lease_2 (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    fence INTEGER NOT NULL,
    holder TEXT,
    renewal INTEGER NOT NULL,
    seconds REAL,
    CHECK ((holder IS NULL) = (seconds IS NULL))
);

INSERT INTO lease_2 SELECT only_row, fence, holder, 0, CASE WHEN holder IS NOT NULL THEN 15.0 END FROM lease;

DROP TABLE lease;

ALTER TABLE lease_2 RENAME TO lease;
