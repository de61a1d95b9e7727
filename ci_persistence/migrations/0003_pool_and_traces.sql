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
