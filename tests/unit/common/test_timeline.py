"""The stations of a job's path: noted once, in order, whatever is done to the clock."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import LogTimes, milestones_in_files
from ci_common.times import SUBMISSION_MILESTONES, Milestone, Timeline, from_micros, in_order, to_micros, with_milestone

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Time:
    """A clock that can be set, and an uptime that cannot."""

    def __init__(self) -> None:
        self.now = NOON
        self.up = 100.0

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.up += seconds

    def trace(self, known: dict[str, int] | None = None, *, after: int = 0) -> Timeline:
        return Timeline(known, after=after, clock=lambda: self.now, uptime=lambda: self.up)


def test_what_is_noted_stands() -> None:
    time = Time()
    trace = time.trace()
    trace.note(Milestone.SEEN)
    time.pass_by(0.25)
    trace.note(Milestone.SEEN)
    trace.note(Milestone.STARTING)
    assert trace.times() == {"seen": to_micros(NOON), "starting": to_micros(NOON) + 250_000}


def test_one_more_station_comes_after_all_others_and_is_noted_once() -> None:
    ahead = to_micros(datetime(2100, 1, 1, tzinfo=UTC))
    assert with_milestone({"accepted": ahead}, Milestone.PERSISTING) == {"accepted": ahead, "persisting": ahead}
    assert with_milestone({"accepted": 10, "persisting": 20}, Milestone.PERSISTING) == {
        "accepted": 10,
        "persisting": 20,
    }


def test_a_clock_that_is_set_does_not_change_a_step() -> None:
    time = Time()
    trace = time.trace()
    trace.note(Milestone.SEEN)
    time.now -= timedelta(hours=1)
    time.pass_by(0.5)
    trace.note(Milestone.STARTING)
    times = trace.times()
    assert times["starting"] - times["seen"] == 500_000


def test_whoever_goes_on_with_a_path_never_comes_before_it() -> None:
    time = Time()
    first = time.trace()
    first.note(Milestone.ACCEPTED)
    time.now -= timedelta(hours=1)
    later = time.trace({"seen": 5}, after=max(first.times().values()))
    later.note(Milestone.STARTING)
    assert later.times()["starting"] == first.times()["accepted"]


def test_a_note_of_earlier_lies_between_its_neighbours() -> None:
    time = Time()
    trace = time.trace()
    trace.note(Milestone.RUNNING)
    time.pass_by(1)
    early = time.up
    time.pass_by(1)
    trace.note(Milestone.EXIT_SEEN)
    trace.note(Milestone.FIRST_OUTPUT, early)
    trace.fill_in({Milestone.GATE_OPENED: 0})
    times = trace.times()
    assert times["first_output"] == times["running"] + 1_000_000
    assert times["gate_opened"] == times["running"]


@given(st.lists(st.tuples(st.sampled_from(Milestone), st.floats(-10, 10), st.floats(0, 10), st.booleans())))
def test_no_step_takes_less_than_nothing(path: list[tuple[Milestone, float, float, bool]]) -> None:
    time = Time()
    trace = time.trace()
    for station, clock_set_by, passes, read_elsewhere in sorted(path):
        time.pass_by(passes)
        time.now += timedelta(seconds=clock_set_by)
        if read_elsewhere:
            trace.fill_in({station: to_micros(time.now)})
        else:
            trace.note(station)
        if clock_set_by > 5:
            trace = time.trace(trace.times())
    times = [instant for _, instant in in_order(trace.times())]
    assert times == sorted(times)


def test_the_order_is_the_paths_and_what_nobody_knows_comes_last() -> None:
    times = {"from_the_future": 1, **dict.fromkeys(reversed(Milestone), 2)}
    assert [name for name, _ in in_order(times)] == [*Milestone, "from_the_future"]
    assert tuple(Milestone)[: len(SUBMISSION_MILESTONES)] == SUBMISSION_MILESTONES


def test_what_files_tell(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    assert milestones_in_files(run) == {}
    (run.path / "started").touch()
    os.utime(run.path / "started", (1, 1))
    LogTimes(run.times).append(from_micros(5), 10)
    assert milestones_in_files(run) == {"gate_opened": 1_000_000, "first_output": 5}
