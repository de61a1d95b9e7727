"""What a step is, what becomes of its status, and what SIGTERM does, whichever shell runs the script."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StepStatus
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import read_steps
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.times import uptime
from ci_controller.run_directory.preparation import Setup, mark_stopping, opened_gate
from tests.helpers.scripts import ENVIRONMENT, SHELLS, ScriptRun, as_sh, end_of, plan_of, shell_steps

MakeRun = Callable[..., ScriptRun]

WAIT = ": >ready; while [ ! -e go ]; do sleep 0.01; done"


@pytest.fixture(params=SHELLS, ids=lambda path: path.name)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return as_sh(request.param, tmp_path)


@pytest.fixture
def of(shell: Path, tmp_path: Path) -> Iterator[MakeRun]:
    made: list[ScriptRun] = []

    def make(plan: ExecutionPlan, **more: Any) -> ScriptRun:
        made.append(ScriptRun(RunDirectory(tmp_path / "run"), shell, plan, **more))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.mark.parametrize("mark", ["started", "exit"])
def test_a_script_whose_job_has_been_through_the_gate_ends_at_once(of: MakeRun, mark: str) -> None:
    one = of(plan_of(*shell_steps("echo ran")))
    assert one.execute() == 0
    (one.run.path / ("exit" if mark == "started" else "started")).unlink()
    left = {path.name: path.lstat().st_mtime_ns for path in one.run.path.iterdir()}
    assert subprocess.run([one.shell, one.run.script, one.run.path], check=False, timeout=20).returncode == 1
    assert one.log() == b"ran\n"
    assert left == {path.name: path.lstat().st_mtime_ns for path in one.run.path.iterdir()}


def test_a_script_at_the_gate_does_not_follow_another_through_it(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo ran")))
    one.prepare()
    one.to_gate()
    (one.run.path / "started").touch()
    with opened_gate(one.run):
        assert one.end() == 1
    assert one.log() == b""
    assert one.run.read_exit() is None


@pytest.mark.parametrize(
    ("text", "code", "log"),
    [
        ("false; echo on", 0, b"on\n"),
        ("echo out; echo err >&2", 0, b"out\nerr\n"),
        ("exit 3; echo never", 3, b""),
        ("trap 'echo bye' EXIT; exit 4", 4, b"bye\n"),
        ("kill -9 $$", 137, None),
        ("cat <<'END'\n$x 'y'\nEND", 0, b"$x 'y'\n"),
        ("echo here # and no more", 0, b"here\n"),
        ("echo one\\", 0, None),
        ("[ $# = 0 ] && [ \"${0##*/}\" = sh ] && echo plain", 0, b"plain\n"),
        ("echo ${__ci_run-nothing}", 0, b"nothing\n"),
        ("-x", 127, None),
        ("+x", 127, None),
        ("# nothing", 0, b""),
        ("( exit 5 )", 5, b""),
        ("if", 2, None),
    ],
)  # fmt: skip
def test_a_command_is_what_sh_c_makes_of_it(of: MakeRun, text: str, code: int, log: bytes | None) -> None:
    one = of(plan_of(*shell_steps(text)))
    assert one.execute() == code
    assert end_of(one.run) == (code, False)
    assert log is None or one.log() == log


@pytest.mark.parametrize(
    ("text", "code", "log"),
    [
        ("false; echo never", 1, b""),
        ("false || echo on", 0, b"on\n"),
        ("if false; then :; fi; echo on", 0, b"on\n"),
        ("set +e; false; echo on", 0, b"on\n"),
        ("x=$(exit 6); echo never", 6, b""),
    ],
)
def test_a_step_ends_at_its_first_failure(of: MakeRun, text: str, code: int, log: bytes) -> None:
    one = of(plan_of(*shell_steps(text, stop_at_failure=True)))
    assert (one.execute(), one.log()) == (code, log)


def test_a_failing_step_is_the_last(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo one", "echo two; exit 9", "echo three")))
    assert (one.execute(), one.log()) == (9, b"one\ntwo\n")


def test_steps_share_nothing_but_files(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("cd /; x=1; export x; umask 777", "pwd; echo ${x-unset}; : >file; cat file")))
    assert one.execute() == 0
    assert one.log() == f"{one.run.workspace}\nunset\n".encode()


def test_a_program_is_no_builtin(of: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "cd"
    program.write_text('#!/bin/sh\necho "cd: $1"; exit 8\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path / 'bin'}:{os.defpath}"}
    one = of(plan_of(PlannedStep(name="program", argv=("cd", "x y"))), environment=path)
    assert (one.execute(), one.log()) == (8, b"cd: x y\n")


@pytest.mark.parametrize(("argv", "code"), [(("no-such-program",), 127), (("/etc",), 126)])
def test_a_program_that_cannot_be_run_has_a_status(of: MakeRun, argv: tuple[str, ...], code: int) -> None:
    one = of(plan_of(PlannedStep(name="program", argv=argv)))
    assert one.execute() == code
    assert argv[0].encode() in one.log()


def test_variables_that_a_shell_keeps_to_itself_do_not_end_the_job(of: MakeRun) -> None:
    env = {
        "UID": "5",
        "PPID": "6",
        "EUID": "7",
        "OPTIND": "x",
        "SHELLOPTS": "y",
        "IFS": "n",
        "LINENO": "z",
        "LAST": "on",
    }
    one = of(plan_of(*shell_steps("echo nine $LAST"), env=env))
    assert one.execute() == 0
    assert one.log().endswith(b"nine on\n")


def test_the_plans_variables_win(of: MakeRun) -> None:
    one = of(
        plan_of(*shell_steps("echo $A $B"), env={"A": "plan"}), environment={**ENVIRONMENT, "A": "own", "B": "own"}
    )
    assert (one.execute(), one.log()) == (0, b"plan own\n")


def test_a_missing_directory_ends_the_job(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo never"), directory="gone"))
    one.prepare()
    (one.run.workspace / "gone").rmdir()
    one.to_gate()
    one.through_gate()
    assert one.end() == 1
    assert end_of(one.run) == (1, False)
    assert b"gone" in one.log()


def test_steps_are_recorded_with_their_times_and_offsets(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("printf abc", "printf de; sleep 0.3; printf f >&2", "exit 7", "echo never")))
    begun = uptime()
    assert one.execute() == 7
    whole = timedelta(seconds=uptime() - begun + 0.02)  # A script reads it in steps of a hundredth.
    start = datetime.now(UTC)
    steps = read_steps(one.run, ("a", "b", "c", "d"), start)
    assert [(s.name, s.status, s.exit_code, s.log_offset) for s in steps] == [
        ("a", StepStatus.SUCCEEDED, 0, 0),
        ("b", StepStatus.SUCCEEDED, 0, 3),
        ("c", StepStatus.FAILED, 7, 6),
        ("d", StepStatus.SKIPPED, None, 6),
    ]
    assert steps[1].end_time is not None
    assert timedelta(seconds=0.28) < steps[1].end_time - steps[1].start_time
    assert start <= steps[0].start_time <= steps[1].start_time
    assert steps[1].end_time <= steps[2].start_time <= start + whole


def test_a_step_that_runs_is_recorded(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("printf abc", WAIT)))
    one.prepare()
    one.to_gate()
    one.through_gate()
    one.until((one.run.workspace / "ready").exists)
    steps = read_steps(one.run, ("a", "b"), datetime.now(UTC))
    assert [(s.status, s.log_offset) for s in steps] == [(StepStatus.SUCCEEDED, 0), (StepStatus.RUNNING, 3)]
    (one.run.workspace / "go").touch()
    assert one.end() == 0


def test_a_job_that_empties_its_log_goes_on_at_its_beginning(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo before; : >../log; echo after")))
    assert (one.execute(), one.log()) == (0, b"after\n")


def test_a_stop_ends_the_step_and_not_the_script(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps(f"trap 'exit 7' TERM; {WAIT}", "echo never")))
    one.prepare()
    process = one.to_gate()
    one.through_gate()
    one.until((one.run.workspace / "ready").exists)
    mark_stopping(one.run)
    os.killpg(process.pid, signal.SIGTERM)
    assert one.end() == 7
    assert end_of(one.run) == (7, True)
    assert b"never" not in one.log()


def test_a_stop_between_two_steps_stops_the_rest(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps(f"exec 9>../lifeline; {WAIT}", "echo never")))
    one.prepare()
    os.mkfifo(one.run.path / "lifeline")
    lifeline = os.open(one.run.path / "lifeline", os.O_RDONLY | os.O_NONBLOCK)
    os.mkfifo(one.run.steps)
    process = one.to_gate()
    one.through_gate()
    with one.run.steps.open() as records:
        assert '"start"' in records.readline()
    one.until((one.run.workspace / "ready").exists)
    (one.run.workspace / "go").touch()
    os.set_blocking(lifeline, True)
    assert os.read(lifeline, 1) == b"", "the first step has ended, and the script waits for a reader of its record"
    os.close(lifeline)
    mark_stopping(one.run)
    os.killpg(process.pid, signal.SIGTERM)
    # The signal may end the waiting by itself, and then no controller comes to write.
    with open(os.open(one.run.steps, os.O_RDONLY | os.O_NONBLOCK), "rb") as remaining:
        assert one.end() == 143
        assert b'"step":1' not in remaining.read()
    assert end_of(one.run) == (143, True)
    assert b"never" not in one.log()


@pytest.mark.parametrize("number", ["HUP", "INT", "QUIT", "USR1", "PIPE", "ALRM", "TERM", "XCPU", "34", "64"])
@pytest.mark.parametrize("target", ["0", "$PPID"], ids=["group", "parent"])
def test_a_signal_of_the_jobs_own_is_no_stop(of: MakeRun, number: str, target: str) -> None:
    caught = "" if number.isdecimal() else f"trap : {number}; "
    own = "trap '' 34 64; " if number.isdecimal() else ""
    # bash 5.2 signals itself for ever if SIGINT comes while it begins to wait for a command.
    waits = "while read -r _ _ state _ </proc/$PPID/stat && [ $state != S ]; do :; done; "
    one = of(plan_of(*shell_steps(f"{caught}{own}{waits}kill -{number} {target}; echo one", "echo two")))
    assert (one.execute(), one.log()) == (0, b"one\ntwo\n")
    assert end_of(one.run) == (0, False)


@pytest.mark.parametrize("number", ["TSTP", "TTIN", "TTOU"])
def test_a_step_cannot_stop_the_script_by_a_signal_that_can_be_caught(of: MakeRun, number: str) -> None:
    one = of(plan_of(*shell_steps(f"kill -{number} $PPID; echo one", "echo two")))
    assert (one.execute(), one.log()) == (0, b"one\ntwo\n")


def test_the_common_way_to_clean_up_is_no_stop(of: MakeRun) -> None:
    text = "trap exit INT TERM; trap 'kill 0' EXIT; sleep 30 & : >ready; echo done"
    one = of(plan_of(*shell_steps(text, "echo next")))
    assert (one.execute(), one.log()) == (0, b"done\nnext\n")


def test_a_step_that_ends_its_group_is_the_last_by_its_own_fault(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("kill -TERM 0; sleep 60", "echo never")))
    assert one.execute() == 143
    assert end_of(one.run) == (143, False)


def test_sigterm_at_the_gate_ends_the_script_at_once(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo never")))
    one.prepare()
    process = one.to_gate()
    os.killpg(process.pid, signal.SIGTERM)
    assert one.end() == -signal.SIGTERM
    assert not one.run.is_started()
    assert one.run.read_exit() is None


def test_another_word_does_not_open_the_gate(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo ran")))
    one.prepare()
    one.to_gate()
    one.run.gate.write_text("no\n")
    assert not one.run.is_started()
    one.through_gate()
    assert (one.end(), one.log()) == (0, b"ran\n")


def test_a_script_whose_gate_has_gone_ends(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo never")))
    one.prepare()
    one.run.gate.unlink()
    one.to_gate()
    assert one.end() == 1
    assert one.run.read_exit() is None


def test_setup_comes_first_and_gives_variables(of: MakeRun) -> None:
    setup = Setup(("sh", "-c", "echo setting up"), {"GIVEN": "a 'b'"})
    one = of(plan_of(*shell_steps('echo "$GIVEN"')), setup=setup)
    assert (one.execute(), one.log()) == (0, b"setting up\na 'b'\n")
    (step,) = read_steps(one.run, ("a",), datetime.now(UTC))
    assert step.log_offset == len(b"setting up\n")


def test_setup_that_fails_ends_the_job(of: MakeRun) -> None:
    one = of(plan_of(*shell_steps("echo never")), setup=Setup(("sh", "-c", "echo no; exit 11"), {}))
    assert (one.execute(), one.log()) == (11, b"no\n")
    assert end_of(one.run) == (11, False)
