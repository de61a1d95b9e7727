-- The database that the API and the controller share. ../../postgresql/migrations/0001_initial.sql says the same.
-- Times are microseconds since the start of 1970 UTC. JSON is kept as text.

CREATE TABLE jobs (
    -- The API's columns: what was asked for. Written once, by INSERT.
    id TEXT NOT NULL PRIMARY KEY,  -- UUIDv7: sorting by id is sorting by submission
    type TEXT NOT NULL,
    submit_time INTEGER NOT NULL CHECK (typeof(submit_time) = 'integer'),
    owner TEXT NOT NULL,  -- the name of the identity that submitted the job
    priority INTEGER NOT NULL CHECK (typeof(priority) = 'integer'),
    project TEXT,
    labels TEXT NOT NULL CHECK (json_valid(labels) AND json_type(labels) = 'object'),
    payload TEXT NOT NULL CHECK (json_valid(payload) AND json_type(payload) = 'object'),
    plan TEXT CHECK (plan IS NULL OR json_valid(plan) AND json_type(plan) = 'object'),
    image TEXT,
    has_upload INTEGER NOT NULL CHECK (has_upload IN (0, 1)),
    upload_bytes INTEGER NOT NULL DEFAULT 0 CHECK (upload_bytes >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    retry_of TEXT,
    concurrency_group TEXT,  -- of the job's project, or of its owner if it has none
    cancel_running INTEGER NOT NULL DEFAULT 0 CHECK (cancel_running IN (0, 1)),
    client TEXT  -- where the submission came from, as JSON of a Client
        CHECK (client IS NULL OR json_valid(client) AND json_type(client) = 'object'),
    arrival TEXT NOT NULL DEFAULT '{}'  -- when the submission passed which milestone, as JSON of times
        CHECK (json_valid(arrival) AND json_type(arrival) = 'object'),

    -- The API's one later write: a time stamp, set at most once, and with it the job of the same concurrency group that
    -- takes this one's place.
    cancel_requested_time INTEGER CHECK (typeof(cancel_requested_time) IN ('integer', 'null')),
    replaced_by TEXT,

    -- The controller's columns: what became of the job. Written by one compare-and-set statement; INSERT
    -- gives the initial values.
    state TEXT NOT NULL DEFAULT 'queued',
    version INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    reason_code TEXT,
    reason_message TEXT,
    not_before INTEGER CHECK (typeof(not_before) IN ('integer', 'null')),
    end_time INTEGER CHECK (typeof(end_time) IN ('integer', 'null')),
    stop_code TEXT,
    conclusion TEXT,
    result TEXT,
    error TEXT,

    CONSTRAINT state_is_known CHECK (state IN ('queued', 'starting', 'running', 'completed')),
    CONSTRAINT conclusion_is_known CHECK (conclusion IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'errored')),
    CONSTRAINT conclusion_iff_completed CHECK ((conclusion IS NOT NULL) = (state = 'completed')),
    CONSTRAINT end_time_iff_completed CHECK ((end_time IS NOT NULL) = (state = 'completed')),
    CONSTRAINT stop_is_ours CHECK (
        stop_code IN ('cancelled', 'deadline_exceeded', 'no_output', 'log_limit', 'workspace_limit', 'service_failed')),
    CONSTRAINT no_stop_while_queued CHECK (stop_code IS NULL OR state <> 'queued'),
    CONSTRAINT attempt_in_range CHECK (attempt BETWEEN 1 AND max_attempts),
    CONSTRAINT reason_is_whole CHECK ((reason_code IS NULL) = (reason_message IS NULL)),
    CONSTRAINT replacing_cancels CHECK (replaced_by IS NULL OR cancel_requested_time IS NOT NULL)
);

-- For the controller's loop: the queued jobs in starting order, and the active ones. It holds only unfinished jobs, so it
-- stays small; a query must say `state <> 'completed'` in these words to use it. It has version and cancel request because
-- the loop asks at every wake-up which of the queued jobs have changed.
CREATE INDEX jobs_unfinished ON jobs (state, priority DESC, id, version, cancel_requested_time)
WHERE state <> 'completed';

-- The unfinished jobs of a concurrency group, and that one of them at a time holds a slot.
CREATE INDEX jobs_of_group ON jobs (concurrency_group, (coalesce('project ' || project, 'owner ' || owner)))
WHERE concurrency_group IS NOT NULL AND state <> 'completed';
CREATE UNIQUE INDEX jobs_one_of_group ON jobs (concurrency_group, (coalesce('project ' || project, 'owner ' || owner)))
WHERE concurrency_group IS NOT NULL AND state IN ('starting', 'running');

-- The newest jobs of one project.
CREATE INDEX jobs_of_project ON jobs (project, id) WHERE project IS NOT NULL;

-- For quotas: how many unfinished jobs of a project or an owner are in which state.
CREATE INDEX jobs_unfinished_of_project ON jobs (project, state) WHERE state <> 'completed' AND project IS NOT NULL;
CREATE INDEX jobs_unfinished_of_owner ON jobs (owner, state) WHERE state <> 'completed';

-- For retention: the jobs that ended longest ago, of all projects or of one. Covering indexes, so that no row has to be
-- read; `state` is among the columns because SQLite does not conclude it from the index's condition.
CREATE INDEX jobs_ended ON jobs (end_time, id, state, conclusion, project) WHERE state = 'completed';
CREATE INDEX jobs_ended_of_project ON jobs (project, end_time, id, state, conclusion)
WHERE state = 'completed' AND project IS NOT NULL;

-- The attempts of jobs: each has a row from its first change on. Written by the controller, with the job's row.
CREATE TABLE attempts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    runtime TEXT,
    start_way TEXT,  -- how it got its container
    start_time INTEGER CHECK (typeof(start_time) IN ('integer', 'null')),
    start_boot TEXT,  -- the machine's boot at start_time, and its uptime in seconds then: a clock that is never set
    start_uptime REAL,
    trace TEXT NOT NULL DEFAULT '{}'  -- as `jobs.arrival`, of this attempt
        CHECK (json_valid(trace) AND json_type(trace) = 'object'),
    end_time INTEGER CHECK (typeof(end_time) IN ('integer', 'null')),
    conclusion TEXT,
    reason_code TEXT,  -- why it ended
    reason_message TEXT,
    exit_code INTEGER,
    log_bytes INTEGER,
    log_sha256 TEXT,
    environment TEXT  -- the prepared environment, as JSON of a JobEnvironment
        CHECK (environment IS NULL OR json_valid(environment) AND json_type(environment) = 'object'),
    caches TEXT  -- what became of its caches, as JSON of a list of JobCache
        CHECK (caches IS NULL OR json_valid(caches) AND json_type(caches) = 'array'),
    tests TEXT  -- how many of its tests ended how, as JSON of a CaseSummary
        CHECK (tests IS NULL OR json_valid(tests) AND json_type(tests) = 'object'),
    artifacts TEXT  -- how many files are kept of it, and which are not, as JSON of JobArtifacts without their list
        CHECK (artifacts IS NULL OR json_valid(artifacts) AND json_type(artifacts) = 'object'),
    results TEXT  -- what the job said about itself, as JSON of Results
        CHECK (results IS NULL OR json_valid(results) AND json_type(results) = 'object'),
    resources TEXT  -- what it used, as JSON of a ResourceUse
        CHECK (resources IS NULL OR json_valid(resources) AND json_type(resources) = 'object'),
    used_image TEXT  -- what it ran in, as JSON of a UsedImage
        CHECK (used_image IS NULL OR json_valid(used_image) AND json_type(used_image) = 'object'),
    PRIMARY KEY (job_id, number),

    CONSTRAINT start_way_is_known CHECK (start_way IN ('warm', 'cold', 'pull')),
    CONSTRAINT attempt_conclusion_is_known
        CHECK (conclusion IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'errored')),
    CONSTRAINT attempt_end_is_whole CHECK ((conclusion IS NOT NULL) = (end_time IS NOT NULL)),
    CONSTRAINT attempt_reason_is_whole CHECK ((reason_code IS NULL) = (reason_message IS NULL)),
    CONSTRAINT digest_only_once_ended CHECK (log_sha256 IS NULL OR conclusion IS NOT NULL),
    CONSTRAINT exit_code_is_a_byte CHECK (exit_code BETWEEN 0 AND 255),
    CONSTRAINT success_is_zero CHECK (conclusion <> 'succeeded' OR coalesce(exit_code, 0) = 0),
    CONSTRAINT log_bytes_not_negative CHECK (log_bytes >= 0)
) WITHOUT ROWID;

-- The steps of attempts that have begun.
CREATE TABLE steps (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time INTEGER NOT NULL CHECK (typeof(start_time) = 'integer'),
    end_time INTEGER CHECK (typeof(end_time) IN ('integer', 'null')),
    exit_code INTEGER,
    log_offset INTEGER NOT NULL CHECK (log_offset >= 0),
    reason TEXT,
    PRIMARY KEY (job_id, attempt, position),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE,

    CONSTRAINT step_status_is_known CHECK (status IN ('running', 'succeeded', 'failed', 'skipped'))
) WITHOUT ROWID;

-- The artifacts of attempts that have ended, in the order of their paths. Written with the end of the attempt; later only
-- `removed` changes. Their contents are in the artifact store.
CREATE TABLE artifacts (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    path TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    key TEXT NOT NULL,  -- what the artifact store calls the content
    name TEXT,  -- the group that it belongs to
    expires INTEGER CHECK (typeof(expires) IN ('integer', 'null')),
    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
    PRIMARY KEY (job_id, attempt, position),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE UNIQUE INDEX artifacts_by_path ON artifacts (job_id, attempt, path);

-- For their retention: those that expire, and have not been removed yet.
CREATE INDEX artifacts_expiring ON artifacts (expires, key) WHERE removed = 0 AND expires IS NOT NULL;

-- The records of attempts that have ended: canonical JSON that never changes, and its SHA-256. Written in the transaction
-- that ends the attempt.
CREATE TABLE records (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    document TEXT NOT NULL CHECK (json_valid(document) AND json_type(document) = 'object'),
    sha256 TEXT NOT NULL,
    PRIMARY KEY (job_id, attempt),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
) WITHOUT ROWID;

-- Logs of attempts that have ended, which the artifact store has as a whole. Written before the log is removed from the
-- data directory.
CREATE TABLE stored_logs (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    times_bytes INTEGER NOT NULL CHECK (times_bytes >= 0),  -- of the index of its times; 0 if there is none
    PRIMARY KEY (job_id, attempt),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
) WITHOUT ROWID;

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
    id, type, submit_time, owner, priority, project, labels, payload, plan, image, has_upload, upload_bytes,
    max_attempts, retry_of,
    concurrency_group, cancel_running, client, arrival
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

-- The number of queued jobs, so that checking the queue's limit costs the same however many there are, and is exact with
-- several servers.
CREATE TABLE queue (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    length INTEGER NOT NULL CHECK (length >= 0)
);

INSERT INTO queue VALUES (1, 0);

-- Deleted jobs whose files and containers are still to be removed by the controller.
CREATE TABLE removals (
    job_id TEXT NOT NULL PRIMARY KEY,
    runtimes TEXT NOT NULL  -- the runtimes of all its attempts, as JSON
);

-- The keys that clients gave to submissions, and the jobs that these have made. Written by the API with the job; a key
-- outlives its job, so that a submission that is sent again does not make a second one.
CREATE TABLE submissions (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,  -- of all that was asked for, as SHA-256
    job_id TEXT NOT NULL,
    time INTEGER NOT NULL CHECK (typeof(time) = 'integer'),
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;

CREATE INDEX submissions_by_time ON submissions (time);

-- What happened to jobs, in the order in which it was committed: one row per event, written in the transaction that
-- changes the job. Events and webhooks read it. `position` alone is that order here; PostgreSQL needs `txid` too.
CREATE TABLE outbox (
    position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    txid INTEGER NOT NULL DEFAULT 0,
    time INTEGER NOT NULL CHECK (typeof(time) = 'integer'),
    event TEXT NOT NULL,
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    project TEXT,
    owner TEXT NOT NULL,
    conclusion TEXT,
    reason_code TEXT
);

-- This database's own name, made with it, and the data directory that it belongs to; NULL until a controller has used the
-- database.
CREATE TABLE installation (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL,
    data_path TEXT
);

INSERT INTO installation VALUES (1, lower(hex(randomblob(16))), NULL);

-- Who leads. `fence` only grows; `holder` is a ProcessIdentity as JSON, and NULL while no controller leads. There is no
-- time stamp, since clocks are set and machines differ: the leader counts `renewal` up, and an observer that sees it
-- unchanged for `seconds` of its own uptime knows that the lease has expired. `slots` is how many jobs the latest
-- controller lets run at a time; NULL before the first one.
CREATE TABLE lease (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    fence INTEGER NOT NULL,
    holder TEXT,
    renewal INTEGER NOT NULL,
    seconds REAL,
    slots INTEGER,
    CONSTRAINT lease_is_whole CHECK ((holder IS NULL) = (seconds IS NULL))
);

INSERT INTO lease VALUES (1, 0, NULL, 0, NULL, NULL);

-- What the leading controller publishes about its pool, as JSON; NULL before the first time.
CREATE TABLE pool (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    state TEXT CHECK (state IS NULL OR json_valid(state))
);

INSERT INTO pool VALUES (1, NULL);

-- Prepared environments, by the digest of all that they depend on. Written by the controller; the API may delete a row.
CREATE TABLE environments (
    key TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    project TEXT,
    job_id TEXT NOT NULL,
    runtime TEXT NOT NULL,
    reference TEXT NOT NULL,  -- the id of an image
    image TEXT NOT NULL,
    setup TEXT NOT NULL,
    inputs TEXT NOT NULL CHECK (json_valid(inputs) AND json_type(inputs) = 'array'),
    pinned INTEGER NOT NULL CHECK (pinned IN (0, 1)),
    created_time INTEGER NOT NULL CHECK (typeof(created_time) = 'integer'),
    last_used_time INTEGER NOT NULL CHECK (typeof(last_used_time) = 'integer'),
    size INTEGER NOT NULL CHECK (size >= 0),
    seconds REAL NOT NULL
);

-- Caches, by who may use them, what they are of, and their key. Written by the controller; the API may delete a row.
CREATE TABLE caches (
    id TEXT NOT NULL PRIMARY KEY,  -- the name of its archive
    scope TEXT NOT NULL,
    owner TEXT NOT NULL,
    project TEXT,
    path TEXT NOT NULL,
    key TEXT NOT NULL,
    job_id TEXT NOT NULL,  -- the job that has left it, which may be deleted
    created_time INTEGER NOT NULL CHECK (typeof(created_time) = 'integer'),
    last_used_time INTEGER NOT NULL CHECK (typeof(last_used_time) = 'integer'),
    size INTEGER NOT NULL CHECK (size >= 0),
    files INTEGER NOT NULL CHECK (files >= 0)
);

CREATE UNIQUE INDEX caches_by_key ON caches (scope, path, key);

-- API keys. A row stays after its key has been revoked.
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,  -- the part of the key that names it
    name TEXT NOT NULL,
    owner TEXT NOT NULL,  -- the name of the identity that its requests have
    role TEXT,  -- NULL if the scopes are listed
    scopes TEXT NOT NULL CHECK (json_valid(scopes) AND json_type(scopes) = 'array'),
    projects TEXT CHECK (projects IS NULL OR json_valid(projects) AND json_type(projects) = 'array'),  -- NULL for all
    digest TEXT NOT NULL,  -- the SHA-256 of the key
    previous_digest TEXT,  -- that of the secret before the last rotation, accepted until previous_until
    previous_until INTEGER CHECK (typeof(previous_until) IN ('integer', 'null')),
    created_time INTEGER NOT NULL CHECK (typeof(created_time) = 'integer'),
    created_by TEXT NOT NULL,
    expires INTEGER CHECK (typeof(expires) IN ('integer', 'null')),
    last_used_time INTEGER CHECK (typeof(last_used_time) IN ('integer', 'null')),  -- written at most once a minute
    revoked_time INTEGER CHECK (typeof(revoked_time) IN ('integer', 'null')),
    kind TEXT NOT NULL,
    made_from TEXT,  -- the key that a browser has signed in with, which ends the session with its own end

    CONSTRAINT kind_is_known CHECK (kind IN ('key', 'session')),
    CONSTRAINT session_ends CHECK (kind = 'key' AND made_from IS NULL OR kind = 'session' AND expires IS NOT NULL),
    CONSTRAINT role_is_known CHECK (role IN ('member', 'viewer', 'developer', 'operator', 'admin')),
    CONSTRAINT overlap_is_whole CHECK ((previous_digest IS NULL) = (previous_until IS NULL))
);

-- Projects that were created. Jobs may name others, too. Written by the API.
CREATE TABLE projects (
    name TEXT NOT NULL PRIMARY KEY,
    description TEXT NOT NULL,
    created_time INTEGER NOT NULL CHECK (typeof(created_time) = 'integer'),
    created_by TEXT NOT NULL,  -- the name of an identity
    version INTEGER NOT NULL,  -- counts the changes
    settings TEXT NOT NULL CHECK (json_valid(settings) AND json_type(settings) = 'object')
);

-- Secrets of projects, and of the installation, which have the empty text as their project. The keys of the ciphertexts
-- are in a file outside of the database.
CREATE TABLE secrets (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed TEXT,  -- the value, encrypted for this row
    reference TEXT,  -- where the value is kept instead
    is_masked INTEGER NOT NULL CHECK (is_masked IN (0, 1)),
    created_time INTEGER NOT NULL CHECK (typeof(created_time) = 'integer'),
    created_by TEXT NOT NULL,
    changed_time INTEGER NOT NULL CHECK (typeof(changed_time) = 'integer'),
    changed_by TEXT NOT NULL,
    PRIMARY KEY (project, name),

    CONSTRAINT value_is_in_one_place CHECK ((sealed IS NULL) <> (reference IS NULL))
) WITHOUT ROWID;

-- Who has which role in a project, besides what their keys give them. Written by the API.
CREATE TABLE members (
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    owner TEXT NOT NULL,  -- the name of an identity
    role TEXT NOT NULL,
    created_time INTEGER NOT NULL CHECK (typeof(created_time) = 'integer'),
    created_by TEXT NOT NULL,
    PRIMARY KEY (project, owner),

    CONSTRAINT member_role_is_known CHECK (role IN ('viewer', 'developer', 'operator', 'admin'))
) WITHOUT ROWID;

CREATE INDEX members_by_owner ON members (owner, project, role);

-- How many bytes of uploads, logs and artifacts each project and each owner has, counted in the transactions that change jobs,
-- so that a quota costs the same however many jobs there are.
CREATE TABLE stored_bytes (
    kind TEXT NOT NULL CHECK (kind IN ('project', 'owner')),
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;

-- The server processes that have places: what their open streams and uploads take from quotas. A process writes its own rows;
-- others delete them as a whole once it is known to be dead, or has not counted `renewal` up for `seconds` of their uptime.
CREATE TABLE servers (
    id TEXT NOT NULL PRIMARY KEY,
    process TEXT NOT NULL,  -- a ProcessIdentity as JSON
    renewal INTEGER NOT NULL,
    seconds REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE places (
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    quota TEXT NOT NULL CHECK (quota IN ('uploads', 'streams')),
    kind TEXT NOT NULL CHECK (kind IN ('project', 'owner')),
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (server, quota, kind, name)
) WITHOUT ROWID;

CREATE INDEX places_by_name ON places (quota, kind, name, number);

-- What the attempts with reports have left besides their tests. Written by the controller while it reads the reports, before
-- the attempt's end, and to be read once `attempts.tests` is there. What deleted jobs leave goes with their removal.
CREATE TABLE test_runs (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    scope TEXT NOT NULL,  -- the same for all jobs whose tests are compared
    content TEXT,  -- the same for all attempts that ran on the same content; NULL where that is not known
    has_coverage INTEGER NOT NULL DEFAULT 0 CHECK (has_coverage IN (0, 1)),
    coverage_lines INTEGER,  -- how many lines its coverage is of, and how many of them were run; NULL without one
    covered_lines INTEGER,
    reports TEXT NOT NULL DEFAULT '{}',  -- the files, what was wrong with them, and the coverage, as JSON
    PRIMARY KEY (job_id, attempt)
) WITHOUT ROWID;

CREATE INDEX test_runs_of_scope ON test_runs (scope, job_id);

-- The results of tests, many in a row, as columns. `ci_persistence/reports/rows.py` says how they are written.
CREATE TABLE test_results (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    first INTEGER NOT NULL,  -- the position of the first of these tests
    tests INTEGER NOT NULL CHECK (tests > 0),  -- how many these are
    keys TEXT NOT NULL,  -- of 20 characters each, with spaces between them
    statuses TEXT NOT NULL,  -- a letter for each test, as in the next two
    flaky TEXT NOT NULL,
    changes TEXT NOT NULL,
    times TEXT NOT NULL,  -- the microseconds of each now and before, as JSON
    names TEXT NOT NULL,  -- JSON, compressed
    texts TEXT,  -- what is known of those that are of note, as JSON, compressed
    PRIMARY KEY (job_id, attempt, first),

    CONSTRAINT test_letters_are_whole
        CHECK (length(statuses) = tests AND length(flaky) = tests AND length(changes) = tests),
    CONSTRAINT test_keys_are_whole CHECK (length(keys) = 21 * tests - 1)
) WITHOUT ROWID;

-- Who did what, from where and with which key, and what was refused: `ci_common/sharing/audit.py` says what the
-- digests are. Rows are inserted in the transaction of what they record, and never changed; the leading controller
-- removes the oldest.
CREATE TABLE audit (
    number INTEGER NOT NULL PRIMARY KEY,  -- without gaps
    time INTEGER NOT NULL CHECK (typeof(time) = 'integer'),
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    key_id TEXT,
    address TEXT NOT NULL,
    request TEXT NOT NULL,
    target TEXT NOT NULL,
    project TEXT,
    outcome TEXT NOT NULL,
    reason TEXT,
    count INTEGER NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL,

    CONSTRAINT audit_outcome_is_known CHECK (outcome IN ('done', 'refused')),
    CONSTRAINT audit_count_is_positive CHECK (count > 0)
);

CREATE INDEX audit_by_time ON audit (time, number);

-- Between which marks the chain of the audit is: `last` is the latest entry, whose row each transaction that adds entries locks
-- as the last thing before its commit; `removed` is the last one that was removed since it was old.
CREATE TABLE audit_ends (
    name TEXT NOT NULL PRIMARY KEY CHECK (name IN ('last', 'removed')),
    number INTEGER NOT NULL,
    digest TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO audit_ends (name, number, digest) VALUES
('last', 0, '0000000000000000000000000000000000000000000000000000000000000000'),
('removed', 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- Counted in the transactions that change jobs, so that reading a number costs the same however many jobs there are, and
-- deleted jobs stay counted. A counter has a row from its first count on.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- Histograms of how long the stages of completed jobs' last attempts took: a row for each bucket that has any.
CREATE TABLE stage_times (
    stage TEXT NOT NULL,
    way TEXT NOT NULL,  -- start_way, or ''
    bound INTEGER NOT NULL,  -- the bucket's upper bound in microseconds
    jobs INTEGER NOT NULL,
    micros INTEGER NOT NULL,  -- the sum of their times
    PRIMARY KEY (stage, way, bound)
) WITHOUT ROWID;
