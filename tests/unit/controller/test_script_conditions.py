"""Which steps run after one that failed, and what a step has of its own, whichever shell runs the script."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StepStatus
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import read_steps
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_controller.run_directory.preparation import mark_stopping
from tests.helpers.scripts import SHELLS, ScriptRun, as_sh, end_of, plan_of

MakeRun = Callable[..., ScriptRun]
FOREVER = "while :; do sleep 0.1; done"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AFTER_FAILURE = "a step before it failed"
AFTER_SUCCESS = "no step before it failed"


@pytest.fixture(params=SHELLS, ids=lambda path: path.name)
def of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeRun]:
    made: list[ScriptRun] = []

    def make(plan: ExecutionPlan) -> ScriptRun:
        made.append(ScriptRun(RunDirectory(tmp_path / "run"), as_sh(request.param, tmp_path), plan))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def step(name: str, shell: str, **more: Any) -> PlannedStep:
    return PlannedStep(name=name, shell=shell, stop_at_failure=True, **more)


def outcomes(one: ScriptRun) -> list[tuple[str, str, int | None, str | None]]:
    names = tuple(step.name for step in one.plan.steps)
    return [(s.name, s.status.value, s.exit_code, s.reason) for s in read_steps(one.run, names, NOON)]


def test_steps_run_by_their_conditions_after_a_failure(of: MakeRun) -> None:
    one = of(
        plan_of(
            step("early", "echo early", condition="failure"),
            step("test", "exit 3"),
            step("deploy", "echo deploy"),
            step("report", "echo report", condition="failure"),
            step("clean", "echo clean; exit 5", condition="always"),
            step("last", "echo last", condition="always"),
        )
    )
    assert one.execute() == 3
    assert outcomes(one) == [
        ("early", "skipped", None, AFTER_SUCCESS),
        ("test", "failed", 3, None),
        ("deploy", "skipped", None, AFTER_FAILURE),
        ("report", "succeeded", 0, None),
        ("clean", "failed", 5, None),
        ("last", "succeeded", 0, None),
    ]
    assert one.log() == b"report\nclean\nlast\n"
    assert end_of(one.run) == (3, False)


def test_a_step_that_may_fail_changes_nothing(of: MakeRun) -> None:
    one = of(
        plan_of(
            step("lint", "exit 4", continue_on_error=True),
            step("test", "echo test"),
            step("report", "echo report", condition="failure"),
        )
    )
    assert one.execute() == 0
    assert [(name, status) for name, status, *_ in outcomes(one)] == [
        ("lint", "failed"),
        ("test", "succeeded"),
        ("report", "skipped"),
    ]


def test_a_step_has_its_own_directory_and_variables(of: MakeRun) -> None:
    one = of(
        plan_of(
            step("make", "mkdir 'its here'"),
            step("inside", 'echo "$GREETING ${PWD##*/}"', directory="its here", env={"GREETING": "it's $HOME"}),
            step("outside", 'echo "${GREETING-none} ${PWD##*/}"'),
            step("nowhere", "echo never", directory="missing"),
        )
    )
    assert one.execute() == 1
    shown, nowhere = one.log().split(b"\n", 2)[:2], one.log().split(b"\n", 2)[2]
    assert shown == [b"it's $HOME its here", b"none workspace"]
    assert b"missing" in nowhere
    assert b"never" not in nowhere


def test_a_step_that_exceeds_its_timeout_is_ended_and_those_that_want_it_follow(of: MakeRun) -> None:
    one = of(
        plan_of(
            step("quick", "echo quick", timeout=30),
            step("hang", f"exec 2>/dev/null; trap 'echo told; exit 9' TERM; {FOREVER}", timeout=8),
            step("next", "echo next"),
            step("clean", "echo clean", condition="always"),
        )
    )
    assert one.execute() == 124
    assert outcomes(one) == [
        ("quick", "succeeded", 0, None),
        ("hang", "failed", 124, "it ran for longer than its timeout"),
        ("next", "skipped", None, AFTER_FAILURE),
        ("clean", "succeeded", 0, None),
    ]
    assert one.log() == b"quick\ntold\nclean\n"


def test_a_step_is_told_before_it_sees_its_commands_end(of: MakeRun) -> None:
    """Else a shell that ends with its first failing command, as those of steps do, ends before its trap."""
    first = "{ echo 10000 >/proc/sys/kernel/ns_last_pid; } 2>/dev/null || :"  # Names in /proc are sorted as text.
    one = of(plan_of(step("hang", f"exec 2>/dev/null; trap 'echo told; exit 9' TERM; {first}; sleep 60", timeout=1)))
    assert one.execute() == 124
    assert one.log() == b"told\n"


def test_a_step_that_kills_its_watcher_has_still_exceeded_its_timeout(of: MakeRun) -> None:
    kill_siblings = """
        IFS=' ' read -r me _ _ parent _ </proc/self/stat
        for each in /proc/[0-9]*/stat; do
            IFS=' ' read -r pid _ _ its_parent _ <"$each" || continue
            [ "$its_parent" != "$parent" ] || [ "$pid" = "$me" ] || kill -9 "$pid"
        done
        exit 9
    """
    one = of(plan_of(step("hang", f"trap '{kill_siblings.replace(chr(39), chr(34))}' TERM; {FOREVER}", timeout=1)))
    assert one.execute() == 124


def test_a_step_that_ignores_the_signal_is_killed_after_the_grace(of: MakeRun) -> None:
    steps = (
        step("hang", f"trap '' TERM; {FOREVER}", timeout=1),
        step("clean", "echo clean", condition="always"),
    )
    one = of(plan_of(*steps).model_copy(update={"stop_grace": 1.0}))
    assert one.execute() == 124
    assert [(name, status) for name, status, *_ in outcomes(one)] == [("hang", "failed"), ("clean", "succeeded")]


def test_a_watched_step_leaves_no_process(of: MakeRun) -> None:
    one = of(plan_of(step("quick", "echo quick", timeout=3600)))
    assert one.execute() == 0
    assert one.process is not None
    group = one.process.pid
    assert eventually_ends(group)


def eventually_ends(group: int) -> bool:
    """Return whether no process of the group is left. One that was killed is there until it has had its turn."""
    for _ in range(1000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_no_step_begins_in_a_job_that_is_stopped(of: MakeRun) -> None:
    one = of(plan_of(step("test", "mkfifo there && read line <there"), step("clean", "echo clean", condition="always")))
    one.prepare()
    one.to_gate()
    one.through_gate()
    fifo = one.run.workspace / "there"
    one.until(fifo.exists)
    mark_stopping(one.run)
    with os.fdopen(os.open(fifo, os.O_RDWR), "w") as there:
        there.write("\n")
        there.flush()
        one.end()
    assert [(name, status) for name, status, *_ in outcomes(one)] == [("test", StepStatus.SUCCEEDED)]
