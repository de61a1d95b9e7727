"""What a seed stands for: the same jobs and faults every time, and jobs that write exactly what is said of them."""

import os
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from ci_common.spec import Spec, plan_steps
from ci_selftest.jobs.output import Count, LongLine, Pause, Say, shell_of
from ci_selftest.jobs.plans import ENDS_ITSELF, Kind, Way, job_plan
from ci_selftest.schedule import Fault, fault_schedule


@pytest.mark.parametrize(
    "act", [Say(bytes(range(256))), Say(b"50% of\\it\n"), Count("a line", 3, 9, "ü🥊"), LongLine("ab", 14)]
)
def test_an_act_writes_what_it_says(act: Say | Count | LongLine) -> None:
    ran = subprocess.run(["/bin/sh", "-c", act.shell()], capture_output=True, check=True)
    assert ran.stdout == act.output()


@pytest.mark.parametrize("number", range(1, 13))
def test_a_job_writes_what_its_plan_says(number: int, tmp_path: Path) -> None:
    plan = next(
        p for p in (job_plan(5, n) for n in range(number * 20, 10**6)) if p.kind in ENDS_ITSELF - {Kind.ESCAPING}
    )
    witness = tmp_path / "witness"
    project = tmp_path / "project"
    plan.write_project(project, plan.spec("an-image", project="p", witness=str(witness), canary=""))
    written = b""
    codes = []
    for text in plan.step_texts():
        text = "\n".join(line for line in text.splitlines() if not line.startswith(("sleep", "kill")))
        environment = {**os.environ, "SELFTEST_WITNESS": str(witness)}
        ran = subprocess.run(["/bin/sh", "-c", text], capture_output=True, cwd=project, env=environment)
        written += ran.stdout
        codes.append(ran.returncode)
        assert ran.stderr == b""
    assert written == plan.output
    assert codes == [0] * (len(plan.steps) - 1) + [plan.exit_code]
    assert witness.read_text() == f"{plan.token}\n"
    assert written.count(plan.token.encode()) == 1


def test_a_plan_is_a_valid_spec_of_as_many_steps() -> None:
    for number in range(1, 50):
        plan = job_plan(9, number)
        spec = Spec.model_validate(plan.spec("an-image", project="p", witness="", canary="/canary"))
        assert len(plan_steps(spec) or ()) == len(plan.steps)


def test_a_seed_gives_the_same_jobs_and_another_seed_others() -> None:
    assert [job_plan(1, n) for n in range(1, 30)] == [job_plan(1, n) for n in range(1, 30)]
    assert [job_plan(1, n).output for n in range(1, 30)] != [job_plan(2, n).output for n in range(1, 30)]


def test_a_hundred_jobs_are_of_every_kind_and_way() -> None:
    plans = [job_plan(3, number) for number in range(1, 101)]
    assert {plan.kind for plan in plans} == set(Kind)
    assert {plan.way for plan in plans} == set(Way)
    assert len({plan.token for plan in plans}) == 100


def test_a_seed_gives_the_same_faults_and_another_seed_others() -> None:
    schedule = list(islice(fault_schedule(4), 100))
    assert schedule == list(islice(fault_schedule(4), 100))
    assert schedule != list(islice(fault_schedule(5), 100))


def test_every_round_has_every_fault() -> None:
    schedule = fault_schedule(4)
    for _ in range(5):
        assert {planned.fault for planned in islice(schedule, len(Fault))} == set(Fault)


def test_pauses_are_left_out_of_what_is_written() -> None:
    assert shell_of([Say(b"a"), Pause(3)]) == "printf 'a'\nsleep 0.3"
