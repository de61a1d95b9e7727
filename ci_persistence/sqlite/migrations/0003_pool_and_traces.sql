-- Warm starts, and the stations of a job's path.

-- The API's: when the submission passed which station, as JSON of microseconds since the start of 1970 UTC.
ALTER TABLE jobs ADD COLUMN arrival TEXT NOT NULL DEFAULT '{}'
    CHECK (json_valid(arrival) AND json_type(arrival) = 'object');

-- The controller's: the same for the present attempt, how that one got its container, and which waiting one it took.
ALTER TABLE jobs ADD COLUMN trace TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(trace) AND json_type(trace) = 'object');
ALTER TABLE jobs ADD COLUMN start_way TEXT
    CONSTRAINT start_way_is_known CHECK (start_way IN ('warm', 'cold', 'pull'));
ALTER TABLE jobs ADD COLUMN workload TEXT
    CONSTRAINT warm_iff_workload CHECK ((workload IS NOT NULL) = (coalesce(start_way, '') = 'warm'));

-- No two jobs ever get the same container.
CREATE UNIQUE INDEX jobs_by_workload ON jobs (workload) WHERE workload IS NOT NULL;

-- What the leading controller tells of its pool, as JSON; NULL while none has.
CREATE TABLE pool (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    state TEXT CHECK (state IS NULL OR json_valid(state))
);

INSERT INTO pool VALUES (1, NULL);

DROP TRIGGER jobs_asked_once;

CREATE TRIGGER jobs_asked_once BEFORE UPDATE OF
    id, type, submit_time, priority, project, labels, payload, plan, image, has_upload, max_attempts, retry_of, arrival
ON jobs
BEGIN
    SELECT RAISE(ABORT, 'jobs_asked_once: what was asked for never changes');
END;

-- What has come and gone, counted as it happens: nothing has to be looked through to tell, and deleted jobs count, too.
CREATE TABLE tally (
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

INSERT INTO tally SELECT 1, count(*),
    count(*) FILTER (WHERE conclusion = 'succeeded'), count(*) FILTER (WHERE conclusion = 'failed'),
    count(*) FILTER (WHERE conclusion = 'cancelled'), count(*) FILTER (WHERE conclusion = 'timed_out'),
    count(*) FILTER (WHERE conclusion = 'errored'), coalesce(sum(attempt - 1), 0), 0, 0, 0,
    count(end_time) FILTER (WHERE start_time IS NOT NULL),
    coalesce(sum(max(0, end_time - start_time)), 0)
FROM jobs;

CREATE TRIGGER jobs_tallied AFTER INSERT ON jobs
BEGIN
    UPDATE tally SET submitted = submitted + 1;
END;

CREATE TRIGGER jobs_tallied_on AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state
BEGIN
    UPDATE tally SET
        succeeded = succeeded + (NEW.conclusion IS 'succeeded'), failed = failed + (NEW.conclusion IS 'failed'),
        cancelled = cancelled + (NEW.conclusion IS 'cancelled'), timed_out = timed_out + (NEW.conclusion IS 'timed_out'),
        errored = errored + (NEW.conclusion IS 'errored'), retried = retried + (NEW.state = 'queued'),
        warm = warm + (NEW.state = 'running' AND NEW.start_way IS 'warm'),
        cold = cold + (NEW.state = 'running' AND NEW.start_way IS 'cold'),
        pull = pull + (NEW.state = 'running' AND NEW.start_way IS 'pull'),
        ran = ran + (NEW.end_time IS NOT NULL AND NEW.start_time IS NOT NULL),
        ran_micros = ran_micros + coalesce(max(0, NEW.end_time - NEW.start_time), 0);
END;

-- How long the stages of completed jobs' last attempts took, as histograms: a row for each bucket that has any.
CREATE TABLE stages (
    stage TEXT NOT NULL,
    way TEXT NOT NULL,  -- start_way, or ''
    up_to INTEGER NOT NULL,  -- microseconds, the bucket's upper bound
    jobs INTEGER NOT NULL,
    micros INTEGER NOT NULL,  -- what all of them took
    PRIMARY KEY (stage, way, up_to)
) WITHOUT ROWID;

CREATE TRIGGER jobs_staged AFTER UPDATE OF state ON jobs WHEN NEW.state = 'completed' AND OLD.state <> 'completed'
BEGIN
    INSERT INTO stages
    SELECT stage, coalesce(NEW.start_way, ''), (
        SELECT min(column1) FROM (VALUES
            (1000), (2000), (5000), (10000), (20000), (50000), (100000), (200000), (500000), (1000000), (2000000),
            (5000000), (10000000), (30000000), (60000000), (300000000), (1800000000), (9223372036854775807))
        WHERE column1 >= took), 1, took
    FROM (
        SELECT 'receive' AS stage, json_extract(NEW.arrival, '$.persisting') - json_extract(NEW.arrival, '$.accepted')
            AS took WHERE NEW.attempt = 1
        UNION ALL SELECT 'queue', json_extract(NEW.trace, '$.starting')
            - coalesce(iif(NEW.attempt = 1, json_extract(NEW.arrival, '$.persisting'), NULL),
                       json_extract(NEW.trace, '$.seen'))
        UNION ALL SELECT 'start', json_extract(NEW.trace, '$.gate_opened') - json_extract(NEW.trace, '$.starting')
        UNION ALL SELECT 'first_output',
            json_extract(NEW.trace, '$.first_output') - json_extract(NEW.arrival, '$.accepted') WHERE NEW.attempt = 1
        UNION ALL SELECT 'end', json_extract(NEW.trace, '$.completing') - json_extract(NEW.trace, '$.exit_seen')
    ) WHERE took >= 0
    ON CONFLICT (stage, way, up_to) DO UPDATE SET jobs = jobs + 1, micros = micros + excluded.micros;
END;
