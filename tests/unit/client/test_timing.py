"""The stations of a job's path as a table."""

from typing import Any

from ci_cli.tables.timing import timing_document, timing_table


def entry(station: str, seconds: float) -> dict[str, str]:
    return {"station": station, "time": f"2026-01-01T00:00:{seconds:09.6f}Z"}


JOB: dict[str, Any] = {
    "job_id": "j",
    "attempt": 1,
    "max_attempts": 1,
    "timing": [entry("accepted", 0), entry("persisting", 0.0015), entry("seen", 2.0015)],
}


def test_each_station_has_a_line() -> None:
    assert timing_table(JOB).splitlines() == [
        "STATION     SINCE ACCEPT        STEP",
        "accepted          0.0 ms      0.0 ms",
        "persisting        1.5 ms      1.5 ms",
        "seen          2,001.5 ms  2,000.0 ms",
    ]


def test_earlier_attempts_stand_before_the_present_one() -> None:
    attempts = [{"attempt": 1, "timing": [entry("seen", 1), entry("completing", 3)]}]
    job = JOB | {
        "attempt": 2,
        "max_attempts": 2,
        "attempts": attempts,
        "timing": [entry("accepted", 0), entry("seen", 4)],
    }
    lines = [line.split() for line in timing_table(job).splitlines()[1:]]
    assert [line[:2] for line in lines] == [["accepted", "0.0"], ["1", "seen"], ["1", "completing"], ["2", "seen"]]
    assert timing_document(job) == {"job_id": "j", "attempt": 2, "timing": job["timing"], "attempts": attempts}


def test_a_server_that_tells_no_times() -> None:
    assert timing_table({"job_id": "j"}) == "no times are known of this job"
