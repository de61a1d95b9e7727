-- The stage behind a job's end: what it ran in goes, and its files. Its last stations are written once that is done.

DROP TRIGGER jobs_staged;

CREATE TRIGGER jobs_staged AFTER UPDATE OF state, trace ON jobs
WHEN NEW.state = 'completed' AND (
    OLD.state <> 'completed'
    OR (json_extract(OLD.trace, '$.cleared') IS NULL AND json_extract(NEW.trace, '$.cleared') IS NOT NULL)
)
BEGIN
    INSERT INTO stages
    SELECT stage, coalesce(NEW.start_way, ''), (
        SELECT min(column1) FROM (VALUES
            (1000), (2000), (5000), (10000), (20000), (50000), (100000), (200000), (500000), (1000000), (2000000),
            (5000000), (10000000), (30000000), (60000000), (300000000), (1800000000), (9223372036854775807))
        WHERE column1 >= took), 1, took
    FROM (
        SELECT 'receive' AS stage, json_extract(NEW.arrival, '$.persisting') - json_extract(NEW.arrival, '$.accepted')
            AS took WHERE OLD.state <> 'completed' AND NEW.attempt = 1
        UNION ALL SELECT 'queue', json_extract(NEW.trace, '$.starting')
            - coalesce(iif(NEW.attempt = 1, json_extract(NEW.arrival, '$.persisting'), NULL),
                       json_extract(NEW.trace, '$.seen')) WHERE OLD.state <> 'completed'
        UNION ALL SELECT 'start', json_extract(NEW.trace, '$.gate_opened') - json_extract(NEW.trace, '$.starting')
            WHERE OLD.state <> 'completed'
        UNION ALL SELECT 'first_output',
            json_extract(NEW.trace, '$.first_output') - json_extract(NEW.arrival, '$.accepted')
            WHERE OLD.state <> 'completed' AND NEW.attempt = 1
        UNION ALL SELECT 'end', json_extract(NEW.trace, '$.completing') - json_extract(NEW.trace, '$.exit_seen')
            WHERE OLD.state <> 'completed'
        UNION ALL SELECT 'clear', json_extract(NEW.trace, '$.cleared') - json_extract(NEW.trace, '$.completing')
    ) WHERE took >= 0
    ON CONFLICT (stage, way, up_to) DO UPDATE SET jobs = jobs + 1, micros = micros + excluded.micros;
END;
