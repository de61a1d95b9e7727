"""What a seed stands for: the same jobs and faults every time, and jobs that write exactly what is said of them."""

import json
import os
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from ci_common.spec import Spec
from ci_selftest.jobs.output import Count, LongLine, Pause, Say, shell_of
from ci_selftest.jobs.plans import ENDS_ITSELF, Kind, Way, job_plan
from ci_selftest.jobs.surroundings import ServiceWay, Setup, SetupWay, is_prepared
from ci_selftest.schedule import Fault, fault_schedule
from ci_server.detection.projects import plan_steps


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
    spec = plan.spec("an-image", project="p", witness=str(witness), canary="")
    plan.write_project(project, spec)
    setup = [] if plan.setup is None else [f"set -e\n{plan.setup.shell()}"]
    written = b""
    codes = []
    for text in [*setup, *plan.step_texts()][: len(plan.exit_codes)]:
        text = "\n".join(line for line in text.splitlines() if not line.startswith(("sleep", "kill")))
        environment = {**os.environ, "SELFTEST_WITNESS": str(witness), "CI_ENV": str(tmp_path)}
        ran = subprocess.run(["/bin/sh", "-c", text], capture_output=True, cwd=project, env=environment)
        written += ran.stdout
        codes.append(ran.returncode)
        assert ran.stderr == b""
    assert [written] == plan.outputs(written)
    assert codes == plan.exit_codes
    begins = plan.setup is None or plan.setup.goes_on
    assert (witness.read_text() if witness.exists() else "") == (f"{plan.token}\n" if begins else "")
    assert written.count(plan.token.encode()) == begins


def test_a_plan_is_a_valid_spec_of_as_many_steps() -> None:
    for number in range(1, 50):
        plan = job_plan(9, number)
        spec = Spec.model_validate(plan.spec("an-image", project="p", witness="", canary="/canary"))
        assert len(plan_steps(spec) or ()) == len(plan.steps)
        assert (spec.setup is None) == (plan.setup is None)
        assert (not spec.services) == (plan.service is None)


def test_a_seed_gives_the_same_jobs_and_another_seed_others() -> None:
    assert [job_plan(1, n) for n in range(1, 30)] == [job_plan(1, n) for n in range(1, 30)]
    assert [job_plan(1, n).output for n in range(1, 30)] != [job_plan(2, n).output for n in range(1, 30)]


def test_a_hundred_jobs_are_of_every_kind_and_way() -> None:
    plans = [job_plan(3, number) for number in range(1, 101)]
    assert {plan.kind for plan in plans} == set(Kind)
    assert {plan.way for plan in plans} == set(Way)
    assert len({plan.token for plan in plans}) == 100


def test_jobs_with_the_same_setup_share_an_environment() -> None:
    plans = [job_plan(3, number) for number in range(1, 400)]
    specs = [p.spec("an-image", project="p", witness="", canary="") for p in plans if p.setup is not None]
    shared = [json.dumps([spec["setup"], spec["env"]]) for spec in specs]
    assert {plan.setup.way for plan in plans if plan.setup is not None} == set(SetupWay)
    assert {plan.service.way for plan in plans if plan.service is not None} == set(ServiceWay)
    assert len(shared) > 3 * len(set(shared))


def test_only_jobs_that_end_by_themselves_have_a_setup_that_fails() -> None:
    setups = [(plan.kind, plan.setup.way) for plan in (job_plan(4, n) for n in range(1, 600)) if plan.setup is not None]
    assert {kind for kind, way in setups if way is SetupWay.FAILING} <= ENDS_ITSELF
    assert {kind for kind, way in setups if way is SetupWay.ENDLESS} <= {Kind.CANCELLED, Kind.STUBBORN}


def test_a_runtime_without_services_has_jobs_without_them() -> None:
    plans = [job_plan(3, number, has_services=False) for number in range(1, 200)]
    assert not any(plan.service for plan in plans)
    assert {Kind.UNSERVED, Kind.DESERTED} & {plan.kind for plan in plans} == set()


@pytest.mark.parametrize("way", SetupWay)
def test_what_a_log_may_begin_with(way: SetupWay) -> None:
    setup = Setup(way, 3)
    hit = b"ci: starts from the prepared environment 0123456789ab, made just now\n"
    assert list(setup.outputs(b"anything")) == [setup.output]
    assert list(setup.outputs(hit + b"rest")) == [setup.output, hit]
    assert is_prepared(hit)
    assert not is_prepared(setup.output)
    why = b"ci: no environment is kept of this setup: it ended with exit code 137: setup 3 begins\n"
    assert why + setup.output in list(setup.outputs(why + setup.output + b"rest"))


def test_a_seed_gives_the_same_faults_and_another_seed_others() -> None:
    schedule = list(islice(fault_schedule(4, tuple(Fault)), 100))
    assert schedule == list(islice(fault_schedule(4, tuple(Fault)), 100))
    assert schedule != list(islice(fault_schedule(5, tuple(Fault)), 100))


def test_every_round_has_every_fault() -> None:
    schedule = fault_schedule(4, tuple(Fault))
    for _ in range(5):
        assert {planned.fault for planned in islice(schedule, len(Fault))} == set(Fault)


def test_pauses_are_left_out_of_what_is_written() -> None:
    assert shell_of([Say(b"a"), Pause(3)]) == "printf 'a'\nsleep 0.3"
