-- The meeting table of the API and the controller.
-- Times are microseconds since the start of 1970 UTC. JSON is kept as text.

CREATE TABLE jobs (
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
    end_time INTEGER CHECK (typeof(end_time) IN ('integer', 'null')),
    runtime TEXT,
    stop_conclusion TEXT,
    conclusion TEXT,
    exit_code INTEGER,
    result TEXT,
    error TEXT,
    steps TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(steps) AND json_type(steps) = 'array'),
    log_bytes INTEGER,
    log_sha256 TEXT,

    CONSTRAINT state_is_known CHECK (state IN ('queued', 'starting', 'running', 'completed')),
    CONSTRAINT conclusion_is_known CHECK (conclusion IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'errored')),
    CONSTRAINT conclusion_iff_completed CHECK ((conclusion IS NOT NULL) = (state = 'completed')),
    CONSTRAINT end_time_iff_completed CHECK ((end_time IS NOT NULL) = (state = 'completed')),
    CONSTRAINT start_time_once_running CHECK (start_time IS NOT NULL OR state <> 'running'),
    CONSTRAINT no_start_time_before_running CHECK (start_time IS NULL OR state IN ('running', 'completed')),
    CONSTRAINT no_runtime_while_queued CHECK (runtime IS NULL OR state <> 'queued'),
    CONSTRAINT digest_only_once_completed CHECK (log_sha256 IS NULL OR state = 'completed'),
    CONSTRAINT stop_is_ours CHECK (stop_conclusion IN ('cancelled', 'timed_out')),
    CONSTRAINT exit_code_is_a_byte CHECK (exit_code BETWEEN 0 AND 255),
    CONSTRAINT success_is_zero CHECK (conclusion <> 'succeeded' OR coalesce(exit_code, 0) = 0),
    CONSTRAINT attempt_in_range CHECK (attempt BETWEEN 1 AND max_attempts),
    CONSTRAINT reason_is_whole CHECK ((reason_code IS NULL) = (reason_message IS NULL)),
    CONSTRAINT log_bytes_not_negative CHECK (log_bytes >= 0)
);

-- What the loop asks: the queued in starting order, and the active. It holds only jobs that have not completed, so it
-- stays small; a query must say `state <> 'completed'` in these words to be served by it.
CREATE INDEX jobs_unfinished ON jobs (state, priority DESC, id) WHERE state <> 'completed';

-- The newest jobs of one project.
CREATE INDEX jobs_of_project ON jobs (project, id) WHERE project IS NOT NULL;

-- ci_common.jobs.TRANSITIONS, once more; a test holds the two together.
CREATE TRIGGER jobs_transitions BEFORE UPDATE OF state ON jobs
WHEN OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES
    ('queued', 'starting'), ('queued', 'completed'),
    ('starting', 'running'), ('starting', 'completed'),
    ('running', 'completed'))
BEGIN
    SELECT RAISE(ABORT, 'jobs_transitions: this state may not follow the present one');
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

-- How many jobs are queued, so that a limit on them costs the same however many there are.
CREATE TABLE queue (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    length INTEGER NOT NULL CHECK (length >= 0)
);

INSERT INTO queue VALUES (1, 0);

CREATE TRIGGER queue_joined AFTER INSERT ON jobs WHEN NEW.state = 'queued'
BEGIN
    UPDATE queue SET length = length + 1;
END;

CREATE TRIGGER queue_passed AFTER UPDATE OF state ON jobs WHEN (OLD.state = 'queued') <> (NEW.state = 'queued')
BEGIN
    UPDATE queue SET length = length + (NEW.state = 'queued') - (OLD.state = 'queued');
END;

CREATE TRIGGER queue_deleted AFTER DELETE ON jobs WHEN OLD.state = 'queued'
BEGIN
    UPDATE queue SET length = length - 1;
END;

-- This database's own name, made with it.
CREATE TABLE installation (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL
);

INSERT INTO installation VALUES (1, lower(hex(randomblob(16))));

-- Who leads. `fence` only grows; `holder` is a ProcessIdentity as JSON, and NULL while nobody leads.
CREATE TABLE lease (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    fence INTEGER NOT NULL,
    holder TEXT,
    expires INTEGER,
    CHECK ((holder IS NULL) = (expires IS NULL))
);

INSERT INTO lease VALUES (1, 0, NULL, NULL);
