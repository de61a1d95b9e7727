-- The database that the API and the controller share. ../../sqlite/migrations/0001_initial.sql says the same, with more
-- comments. Text that is sorted is compared byte by byte, as SQLite does.
-- Rows of unfinished jobs change often: space is left beside them, and they are vacuumed early.

CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    submit_time BIGINT NOT NULL,
    owner TEXT NOT NULL,
    priority INTEGER NOT NULL,
    project TEXT COLLATE "C",
    labels TEXT NOT NULL CHECK (json_typeof(CAST(labels AS json)) = 'object'),
    payload TEXT NOT NULL CHECK (json_typeof(CAST(payload AS json)) = 'object'),
    plan TEXT CHECK (json_typeof(CAST(plan AS json)) = 'object'),
    image TEXT,
    has_upload INTEGER NOT NULL CHECK (has_upload IN (0, 1)),
    upload_bytes BIGINT NOT NULL DEFAULT 0 CHECK (upload_bytes >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    retry_of TEXT,
    concurrency_group TEXT,
    cancel_running INTEGER NOT NULL DEFAULT 0 CHECK (cancel_running IN (0, 1)),
    client TEXT CHECK (json_typeof(CAST(client AS json)) = 'object'),
    arrival TEXT NOT NULL DEFAULT '{}' CHECK (json_typeof(CAST(arrival AS json)) = 'object'),

    cancel_requested_time BIGINT,
    replaced_by TEXT,

    state TEXT NOT NULL DEFAULT 'queued',
    version INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    reason_code TEXT,
    reason_message TEXT,
    not_before BIGINT,
    end_time BIGINT,
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
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200);

CREATE INDEX jobs_unfinished ON jobs (state, priority DESC, id, version, cancel_requested_time)
WHERE state <> 'completed';
CREATE INDEX jobs_of_group ON jobs (concurrency_group, (coalesce('project ' || project, 'owner ' || owner)))
WHERE concurrency_group IS NOT NULL AND state <> 'completed';
CREATE UNIQUE INDEX jobs_one_of_group ON jobs (concurrency_group, (coalesce('project ' || project, 'owner ' || owner)))
WHERE concurrency_group IS NOT NULL AND state IN ('starting', 'running');
CREATE INDEX jobs_of_project ON jobs (project, id) WHERE project IS NOT NULL;
CREATE INDEX jobs_unfinished_of_project ON jobs (project, state) WHERE state <> 'completed' AND project IS NOT NULL;
CREATE INDEX jobs_unfinished_of_owner ON jobs (owner, state) WHERE state <> 'completed';
CREATE INDEX jobs_ended ON jobs (end_time, id, state, conclusion, project) WHERE state = 'completed';
CREATE INDEX jobs_ended_of_project ON jobs (project, end_time, id, state, conclusion)
WHERE state = 'completed' AND project IS NOT NULL;

CREATE TABLE attempts (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    runtime TEXT,
    start_way TEXT,
    start_time BIGINT,
    start_boot TEXT,
    start_uptime DOUBLE PRECISION,
    trace TEXT NOT NULL DEFAULT '{}' CHECK (json_typeof(CAST(trace AS json)) = 'object'),
    end_time BIGINT,
    conclusion TEXT,
    reason_code TEXT,
    reason_message TEXT,
    exit_code INTEGER,
    log_bytes BIGINT,
    log_sha256 TEXT,
    environment TEXT CHECK (json_typeof(CAST(environment AS json)) = 'object'),
    caches TEXT CHECK (json_typeof(CAST(caches AS json)) = 'array'),
    tests TEXT CHECK (json_typeof(CAST(tests AS json)) = 'object'),
    artifacts TEXT CHECK (json_typeof(CAST(artifacts AS json)) = 'object'),
    results TEXT CHECK (json_typeof(CAST(results AS json)) = 'object'),
    resources TEXT CHECK (json_typeof(CAST(resources AS json)) = 'object'),
    used_image TEXT CHECK (json_typeof(CAST(used_image AS json)) = 'object'),
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
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200);

CREATE TABLE steps (
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time BIGINT NOT NULL,
    end_time BIGINT,
    exit_code INTEGER,
    log_offset BIGINT NOT NULL CHECK (log_offset >= 0),
    reason TEXT,
    PRIMARY KEY (job_id, attempt, position),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE,

    CONSTRAINT step_status_is_known CHECK (status IN ('running', 'succeeded', 'failed', 'skipped'))
) WITH (fillfactor = 75);

CREATE TABLE artifacts (
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    path TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    name TEXT,
    expires BIGINT,
    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
    PRIMARY KEY (job_id, attempt, position),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
);

CREATE UNIQUE INDEX artifacts_by_path ON artifacts (job_id, attempt, path);

CREATE INDEX artifacts_expiring ON artifacts (expires, key) WHERE removed = 0 AND expires IS NOT NULL;

CREATE TABLE records (
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    document TEXT NOT NULL CHECK (json_typeof(CAST(document AS json)) = 'object'),
    sha256 TEXT NOT NULL,
    PRIMARY KEY (job_id, attempt),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
);

CREATE TABLE stored_logs (
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    bytes BIGINT NOT NULL CHECK (bytes >= 0),
    times_bytes BIGINT NOT NULL CHECK (times_bytes >= 0),
    PRIMARY KEY (job_id, attempt),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number) ON DELETE CASCADE
);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER jobs_transitions BEFORE UPDATE OF state ON jobs FOR EACH ROW
WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
    ('queued', 'starting'), ('queued', 'completed'),
    ('starting', 'running'), ('starting', 'completed'), ('starting', 'queued'),
    ('running', 'completed'), ('running', 'queued')))
EXECUTE FUNCTION refuse('jobs_transitions: this state may not follow the present one');

CREATE TRIGGER jobs_attempts BEFORE UPDATE OF attempt, state ON jobs FOR EACH ROW
WHEN (NEW.attempt <> OLD.attempt + CAST(OLD.state IN ('starting', 'running') AND NEW.state = 'queued' AS integer))
EXECUTE FUNCTION refuse('jobs_attempts: a new attempt begins when a job is queued again, and only then');

CREATE TRIGGER jobs_asked_once BEFORE UPDATE OF
    id, type, submit_time, owner, priority, project, labels, payload, plan, image, has_upload, upload_bytes,
    max_attempts, retry_of,
    concurrency_group, cancel_running, client, arrival
ON jobs FOR EACH ROW
EXECUTE FUNCTION refuse('jobs_asked_once: what was asked for never changes');

CREATE TRIGGER jobs_cancelled_once BEFORE UPDATE OF cancel_requested_time ON jobs FOR EACH ROW
WHEN (OLD.cancel_requested_time IS NOT NULL)
EXECUTE FUNCTION refuse('jobs_cancelled_once: the first cancel request stands');

CREATE TRIGGER jobs_deleted_once_completed BEFORE DELETE ON jobs FOR EACH ROW
WHEN (OLD.state <> 'completed')
EXECUTE FUNCTION refuse('jobs_deleted_once_completed: a job that has not completed cannot be deleted');

CREATE TABLE queue (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    length INTEGER NOT NULL CHECK (length >= 0)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

INSERT INTO queue VALUES (1, 0);

CREATE TABLE removals (
    job_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    runtimes TEXT NOT NULL
);

-- The keys that clients gave to submissions, and the jobs that these have made. Written by the API with the job; a key
-- outlives its job, so that a submission that is sent again does not make a second one.
CREATE TABLE submissions (
    owner TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    digest TEXT NOT NULL,  -- of all that was asked for, as SHA-256
    job_id TEXT COLLATE "C" NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);

CREATE INDEX submissions_by_time ON submissions (time);

-- A sequence gives positions before the commit, and transactions commit in another order. So readers go by (txid,
-- position), and only as far as no transaction before it is still open.
CREATE TABLE outbox (
    position BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    txid BIGINT NOT NULL DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint),
    time BIGINT NOT NULL,
    event TEXT NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    project TEXT COLLATE "C",
    owner TEXT NOT NULL,
    conclusion TEXT,
    reason_code TEXT,
    PRIMARY KEY (position)
);

CREATE INDEX outbox_in_commit_order ON outbox (txid, position);

CREATE TABLE installation (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL,
    data_path TEXT
);

INSERT INTO installation VALUES (1, replace(CAST(gen_random_uuid() AS text), '-', ''), NULL);

CREATE TABLE lease (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    fence BIGINT NOT NULL,
    holder TEXT,
    renewal BIGINT NOT NULL,
    seconds DOUBLE PRECISION,
    slots BIGINT,
    CONSTRAINT lease_is_whole CHECK ((holder IS NULL) = (seconds IS NULL))
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

INSERT INTO lease VALUES (1, 0, NULL, 0, NULL, NULL);

CREATE TABLE pool (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    state TEXT CHECK (json_typeof(CAST(state AS json)) = 'object')
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

INSERT INTO pool VALUES (1, NULL);

CREATE TABLE environments (
    key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    project TEXT,
    job_id TEXT NOT NULL,
    runtime TEXT NOT NULL,
    reference TEXT NOT NULL,
    image TEXT NOT NULL,
    setup TEXT NOT NULL,
    inputs TEXT NOT NULL CHECK (json_typeof(CAST(inputs AS json)) = 'array'),
    pinned INTEGER NOT NULL CHECK (pinned IN (0, 1)),
    created_time BIGINT NOT NULL,
    last_used_time BIGINT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    seconds DOUBLE PRECISION NOT NULL
);

CREATE TABLE caches (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    scope TEXT COLLATE "C" NOT NULL,
    owner TEXT NOT NULL,
    project TEXT,
    path TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    job_id TEXT NOT NULL,
    created_time BIGINT NOT NULL,
    last_used_time BIGINT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    files BIGINT NOT NULL CHECK (files >= 0)
);

CREATE UNIQUE INDEX caches_by_key ON caches (scope, path, key);

CREATE TABLE keys (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    role TEXT,
    scopes TEXT NOT NULL CHECK (json_typeof(CAST(scopes AS json)) = 'array'),
    projects TEXT CHECK (json_typeof(CAST(projects AS json)) = 'array'),
    digest TEXT NOT NULL,
    previous_digest TEXT,
    previous_until BIGINT,
    created_time BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires BIGINT,
    last_used_time BIGINT,
    revoked_time BIGINT,
    kind TEXT NOT NULL,
    made_from TEXT,

    CONSTRAINT kind_is_known CHECK (kind IN ('key', 'session')),
    CONSTRAINT session_ends CHECK (kind = 'key' AND made_from IS NULL OR kind = 'session' AND expires IS NOT NULL),
    CONSTRAINT role_is_known CHECK (role IN ('member', 'viewer', 'developer', 'operator', 'admin')),
    CONSTRAINT overlap_is_whole CHECK ((previous_digest IS NULL) = (previous_until IS NULL))
);

CREATE TABLE projects (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    description TEXT NOT NULL,
    created_time BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    version INTEGER NOT NULL,
    settings TEXT NOT NULL CHECK (json_typeof(CAST(settings AS json)) = 'object')
);

CREATE TABLE secrets (
    project TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    sealed TEXT,
    reference TEXT,
    is_masked INTEGER NOT NULL CHECK (is_masked IN (0, 1)),
    created_time BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    changed_time BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (project, name),

    CONSTRAINT value_is_in_one_place CHECK ((sealed IS NULL) <> (reference IS NULL))
);

CREATE TABLE members (
    project TEXT COLLATE "C" NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    owner TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    created_time BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (project, owner),

    CONSTRAINT member_role_is_known CHECK (role IN ('viewer', 'developer', 'operator', 'admin'))
);

CREATE INDEX members_by_owner ON members (owner, project, role);

CREATE TABLE stored_bytes (
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('project', 'owner')),
    name TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE servers (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    process TEXT NOT NULL,
    renewal BIGINT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL
);

CREATE TABLE places (
    server TEXT COLLATE "C" NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    quota TEXT COLLATE "C" NOT NULL CHECK (quota IN ('uploads', 'streams')),
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('project', 'owner')),
    name TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (server, quota, kind, name)
);

CREATE INDEX places_by_name ON places (quota, kind, name, number);

CREATE TABLE test_runs (
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    content TEXT,
    has_coverage INTEGER NOT NULL DEFAULT 0 CHECK (has_coverage IN (0, 1)),
    coverage_lines BIGINT,  -- how many lines its coverage is of, and how many of them were run; NULL without one
    covered_lines BIGINT,
    reports TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, attempt)
);

CREATE INDEX test_runs_of_scope ON test_runs (scope, job_id);

CREATE TABLE test_results (
    job_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    first INTEGER NOT NULL,
    tests INTEGER NOT NULL CHECK (tests > 0),
    keys TEXT COLLATE "C" NOT NULL,
    statuses TEXT NOT NULL,
    flaky TEXT NOT NULL,
    changes TEXT NOT NULL,
    times TEXT NOT NULL,
    names TEXT NOT NULL,
    texts TEXT,
    PRIMARY KEY (job_id, attempt, first),

    CONSTRAINT test_letters_are_whole
        CHECK (length(statuses) = tests AND length(flaky) = tests AND length(changes) = tests),
    CONSTRAINT test_keys_are_whole CHECK (length(keys) = 21 * tests - 1)
);

-- They do not become smaller by what the server does, and are searched.
ALTER TABLE test_results ALTER COLUMN keys SET STORAGE EXTERNAL, ALTER COLUMN names SET STORAGE EXTERNAL,
    ALTER COLUMN texts SET STORAGE EXTERNAL;

CREATE TABLE audit (
    number BIGINT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    address TEXT COLLATE "C" NOT NULL,
    request TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C",
    outcome TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    count BIGINT NOT NULL,
    previous TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,

    CONSTRAINT audit_outcome_is_known CHECK (outcome IN ('done', 'refused')),
    CONSTRAINT audit_count_is_positive CHECK (count > 0)
);

CREATE INDEX audit_by_time ON audit (time, number);

CREATE TABLE audit_ends (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (name IN ('last', 'removed')),
    number BIGINT NOT NULL,
    digest TEXT COLLATE "C" NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

INSERT INTO audit_ends (name, number, digest) VALUES ('last', 0, repeat('0', 64)), ('removed', 0, repeat('0', 64));

CREATE TABLE counters (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE stage_times (
    stage TEXT COLLATE "C" NOT NULL,
    way TEXT COLLATE "C" NOT NULL,
    bound BIGINT NOT NULL,
    jobs BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (stage, way, bound)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Only PostgreSQL has this table: a row for each object that writes, with the number of its latest transaction. It tells
-- whether a transaction was committed whose COMMIT was not answered, and others that something was committed.
CREATE TABLE writers (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    commits BIGINT NOT NULL,
    last_time TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
