-- The database that the API and the controller share.
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
    arrival TEXT NOT NULL DEFAULT '{}'  -- when the submission passed which station, as JSON of times
        CHECK (json_valid(arrival) AND json_type(arrival) = 'object'),

    -- The API's one later write: a time stamp, set at most once.
    cancel_requested_time INTEGER CHECK (typeof(cancel_requested_time) IN ('integer', 'null')),

    -- The controller's columns: what became of the job. Written by one compare-and-set statement; INSERT
    -- gives the initial values.
    state TEXT NOT NULL DEFAULT 'queued',
    version INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    reason_code TEXT,
    reason_message TEXT,
    not_before INTEGER CHECK (typeof(not_before) IN ('integer', 'null')),
    start_time INTEGER CHECK (typeof(start_time) IN ('integer', 'null')),
    start_boot TEXT,  -- the machine's boot at start_time, and its uptime in seconds then: a clock that is never set
    start_uptime REAL,
    end_time INTEGER CHECK (typeof(end_time) IN ('integer', 'null')),
    runtime TEXT,
    start_way TEXT,  -- how the present attempt got its container, and which waiting container it took
    trace TEXT NOT NULL DEFAULT '{}'  -- as `arrival`, of the present attempt
        CHECK (json_valid(trace) AND json_type(trace) = 'object'),
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
    CONSTRAINT start_way_is_known CHECK (start_way IN ('warm', 'cold', 'pull')),
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

-- For the controller's loop: the queued jobs in starting order, and the active ones. It holds only unfinished jobs, so it
-- stays small; a query must say `state <> 'completed'` in these words to use it. It has version and cancel request because
-- the loop asks at every wake-up which of the queued jobs have changed.
CREATE INDEX jobs_unfinished ON jobs (state, priority DESC, id, version, cancel_requested_time)
WHERE state <> 'completed';

-- The newest jobs of one project.
CREATE INDEX jobs_of_project ON jobs (project, id) WHERE project IS NOT NULL;

-- For retention: the jobs that ended longest ago, of all projects or of one. Covering indexes, so that no row has to be
-- read; `state` is among the columns because SQLite does not conclude it from the index's condition.
CREATE INDEX jobs_ended ON jobs (end_time, id, state, conclusion, project) WHERE state = 'completed';
CREATE INDEX jobs_ended_of_project ON jobs (project, end_time, id, state, conclusion)
WHERE state = 'completed' AND project IS NOT NULL;

-- The same as ci_common.jobs.TRANSITIONS; a test compares the two.
CREATE TRIGGER jobs_transitions BEFORE UPDATE OF state ON jobs
WHEN OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES
    ('queued', 'starting'), ('queued', 'completed'),
    ('starting', 'running'), ('starting', 'completed'), ('starting', 'queued'),
    ('running', 'completed'), ('running', 'queued'))
BEGIN
    SELECT RAISE(ABORT, 'jobs_transitions: this state may not follow the present one');
END;

-- A job's code starts at most once per attempt, so queueing a job again begins another attempt, and nothing else does.
CREATE TRIGGER jobs_attempts BEFORE UPDATE OF attempt, state ON jobs
WHEN NEW.attempt <> OLD.attempt + (OLD.state IN ('starting', 'running') AND NEW.state = 'queued')
BEGIN
    SELECT RAISE(ABORT, 'jobs_attempts: a new attempt begins when a job is queued again, and only then');
END;

CREATE TRIGGER jobs_asked_once BEFORE UPDATE OF
    id, type, submit_time, priority, project, labels, payload, plan, image, has_upload, max_attempts, retry_of, arrival
ON jobs
BEGIN
    SELECT RAISE(ABORT, 'jobs_asked_once: what was asked for never changes');
END;

CREATE TRIGGER jobs_cancelled_once BEFORE UPDATE OF cancel_requested_time ON jobs
WHEN OLD.cancel_requested_time IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'jobs_cancelled_once: the first cancel request stands');
END;

CREATE TRIGGER jobs_deleted_once_completed BEFORE DELETE ON jobs WHEN OLD.state <> 'completed'
BEGIN
    SELECT RAISE(ABORT, 'jobs_deleted_once_completed: a job that has not completed cannot be deleted');
END;

-- The number of queued jobs, so that checking the queue's limit costs the same however many there are.
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

-- Deleted jobs whose files and containers are still to be removed by the controller.
CREATE TABLE removals (
    job_id TEXT NOT NULL PRIMARY KEY,
    image TEXT,
    runtimes TEXT NOT NULL  -- the runtimes of all its attempts, as JSON
);

CREATE TRIGGER jobs_leave_removals AFTER DELETE ON jobs
BEGIN
    INSERT INTO removals SELECT OLD.id, OLD.image, json_group_array(DISTINCT runtime) FROM (
        SELECT OLD.runtime AS runtime
        UNION ALL SELECT json_extract(value, '$.runtime') FROM json_each(OLD.earlier_attempts)
    ) WHERE runtime IS NOT NULL;
END;

-- This database's own name, made with it, and the data directory that it belongs to; NULL until a controller has used the
-- database.
CREATE TABLE installation (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL,
    data_path TEXT
);

INSERT INTO installation VALUES (1, lower(hex(randomblob(16))), NULL);

-- Who leads. `fence` only grows; `holder` is a ProcessIdentity as JSON, and NULL while no controller leads. There is no
-- time stamp, since clocks are set and machines differ: the leader counts `renewal` up, and an observer that sees it
-- unchanged for `seconds` of its own uptime knows that the lease has expired.
CREATE TABLE lease (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    fence INTEGER NOT NULL,
    holder TEXT,
    renewal INTEGER NOT NULL,
    seconds REAL,
    CHECK ((holder IS NULL) = (seconds IS NULL))
);

INSERT INTO lease VALUES (1, 0, NULL, 0, NULL);

-- What the leading controller publishes about its pool, as JSON; NULL before the first time.
CREATE TABLE pool (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    state TEXT CHECK (state IS NULL OR json_valid(state))
);

INSERT INTO pool VALUES (1, NULL);

-- Counted as it happens, so that reading a number costs the same however many jobs there are, and deleted jobs stay
-- counted.
CREATE TABLE counters (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    submitted INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    timed_out INTEGER NOT NULL,
    errored INTEGER NOT NULL,
    retried INTEGER NOT NULL,
    warm INTEGER NOT NULL,  -- attempts that ran, by the way they started
    cold INTEGER NOT NULL,
    pull INTEGER NOT NULL,
    ran INTEGER NOT NULL,  -- completed jobs whose code had started, and how many microseconds they ran
    ran_micros INTEGER NOT NULL
);

INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

CREATE TRIGGER jobs_count_submission AFTER INSERT ON jobs
BEGIN
    UPDATE counters SET submitted = submitted + 1;
END;

CREATE TRIGGER jobs_count_transition AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state
BEGIN
    UPDATE counters SET
        succeeded = succeeded + (NEW.conclusion IS 'succeeded'), failed = failed + (NEW.conclusion IS 'failed'),
        cancelled = cancelled + (NEW.conclusion IS 'cancelled'), timed_out = timed_out + (NEW.conclusion IS 'timed_out'),
        errored = errored + (NEW.conclusion IS 'errored'), retried = retried + (NEW.state = 'queued'),
        warm = warm + (NEW.state = 'running' AND NEW.start_way IS 'warm'),
        cold = cold + (NEW.state = 'running' AND NEW.start_way IS 'cold'),
        pull = pull + (NEW.state = 'running' AND NEW.start_way IS 'pull'),
        ran = ran + (NEW.end_time IS NOT NULL AND NEW.start_time IS NOT NULL),
        ran_micros = ran_micros + coalesce(max(0, NEW.end_time - NEW.start_time), 0);
END;

-- Histograms of how long the stages of completed jobs' last attempts took: a row for each bucket that has any. The program
-- knows stages and bounds, and counts them in the transaction that completes a job.
CREATE TABLE stage_times (
    stage TEXT NOT NULL,
    way TEXT NOT NULL,  -- start_way, or ''
    bound INTEGER NOT NULL,  -- the bucket's upper bound in microseconds
    jobs INTEGER NOT NULL,
    micros INTEGER NOT NULL,  -- the sum of their times
    PRIMARY KEY (stage, way, bound)
) WITHOUT ROWID;
