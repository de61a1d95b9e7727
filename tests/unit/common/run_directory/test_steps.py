"""Step records, true and forged."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.run_directory import output
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import read_steps
from ci_common.times import to_micros
from tests.helpers.jobs import NOON

NAMES = ("install", "test")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "started").write_text("100.50")
    return RunDirectory(tmp_path)


def write(run: RunDirectory, *records: object) -> None:
    run.steps.write_text("".join(json.dumps(record) + "\n" for record in records))


def start(step: int, uptime: str = "101.50", offset: str = "7") -> dict[str, object]:
    return {"step": step, "event": "start", "uptime": uptime, "offset": offset}


def end(step: int, code: int, uptime: str = "103.00") -> dict[str, object]:
    return {"step": step, "event": "end", "code": code, "uptime": uptime, "offset": "9"}


def test_without_records(run: RunDirectory) -> None:
    assert read_steps(run, NAMES, NOON) == ()
    write(run, start(0))
    assert read_steps(run, NAMES, None) == ()


def test_true_records(run: RunDirectory) -> None:
    write(run, start(0, "100.50", "0"), end(0, 0, "101.50"), start(1), end(1, 3))
    second = timedelta(seconds=1)
    assert read_steps(run, NAMES, NOON) == (
        StepResult("install", StepStatus.SUCCEEDED, NOON, 0, exit_code=0, end_time=NOON + second),
        StepResult("test", StepStatus.FAILED, NOON + second, 7, exit_code=3, end_time=NOON + 2.5 * second),
    )


def test_a_step_that_runs_and_a_line_that_is_being_written(run: RunDirectory) -> None:
    write(run, start(0))
    with run.steps.open("a") as file:
        file.write('{"step":0,"event":"e')
    assert read_steps(run, NAMES, NOON) == (StepResult("install", StepStatus.RUNNING, NOON + timedelta(seconds=1), 7),)


def test_without_proc_there_are_no_times_but_results(run: RunDirectory) -> None:
    (run.path / "started").write_text("")
    write(run, start(0, "", ""), end(0, 1, ""))
    assert read_steps(run, NAMES, NOON) == (
        StepResult("install", StepStatus.FAILED, NOON, 0, exit_code=1, end_time=NOON),
    )


@pytest.mark.parametrize("uptime", ["nan", "inf", "-inf", "-5", "1e300", "1e15", "soon", "9" * 100])
def test_forged_uptimes(run: RunDirectory, uptime: str) -> None:
    write(run, start(0), end(0, 0, uptime))
    (step,) = read_steps(run, NAMES, NOON)
    assert step.status is StepStatus.SUCCEEDED
    assert step.end_time is not None
    assert step.end_time >= step.start_time


def test_no_more_is_read_than_the_records_of_a_script_have(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job can write a megabyte of them, and touch the file all the time."""
    parsed = []
    monkeypatch.setattr(output._Record, "model_validate_json", lambda line: parsed.append(line) or _forged())
    write(run, start(0), *(end(0, 1) for _ in range(20_000)))
    read_steps(run, NAMES, NOON)
    assert len(parsed) <= 2 * len(NAMES)


def _forged() -> output._Record:
    return output._Record(step=0, event="forged")


@pytest.mark.parametrize("offset", ["-1", "1.5", "9" * 30, "²", "x"])
def test_forged_offsets(run: RunDirectory, offset: str) -> None:
    write(run, start(0, offset=offset))
    assert read_steps(run, NAMES, NOON)[0].log_offset == 0


@pytest.mark.parametrize(
    "record",
    [
        start(2),
        start(-1),
        end(0, 0),
        {"step": 0, "event": "end", "uptime": "", "offset": ""},
        end(0, 256),
        {"step": "x", "event": "start"},
        {"event": "start"},
        [],
        None,
        "x",
    ],
)
def test_what_does_not_fit_is_passed_over(run: RunDirectory, record: object) -> None:
    write(run, record, start(1))
    assert [step.name for step in read_steps(run, NAMES, NOON)] == ["test"]


def test_a_second_start_changes_nothing(run: RunDirectory) -> None:
    write(run, start(0, offset="1"), start(0, offset="2"))
    assert read_steps(run, NAMES, NOON)[0].log_offset == 1


def test_a_huge_file_is_read_in_part(run: RunDirectory) -> None:
    write(run, start(0))
    with run.steps.open("ab") as file:
        file.truncate(2**34)
    assert len(read_steps(run, NAMES, NOON)) == 1


records = st.fixed_dictionaries(
    {"step": st.integers(-1, 3), "event": st.sampled_from(["start", "end", "x"])},
    optional={
        "code": st.integers(-1, 300),
        "uptime": st.text("0123456789.-e", max_size=8) | st.floats().map(str),
        "offset": st.text("0123456789-²", max_size=25),
    },
)


@given(st.lists(records.map(json.dumps).map(str.encode) | st.binary(max_size=40), max_size=12).map(b"\n".join))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_is_in_the_file_the_result_is_sane(run: RunDirectory, content: bytes) -> None:
    run.steps.write_bytes(content)
    steps = read_steps(run, NAMES, NOON)
    assert [step.name for step in steps] == [name for name in NAMES if name in {step.name for step in steps}]
    for step in steps:
        assert (step.exit_code is None) == (step.end_time is None) == (step.status is StepStatus.RUNNING)
        assert to_micros(step.start_time) < 2**63
        assert 0 <= step.log_offset < 2**63
