"""Which prepared environment a job starts from, and which are made, for how long and from what."""

from typing import Any

import pytest

from ci_common.attempts.parts import JobEnvironment
from ci_common.jobs import Conclusion, Reason, ReasonCode
from ci_common.run_directory.inputs import InputsChanged
from ci_common.runtime_faults import SetupFailed
from ci_common.spec import DOWNLOADED
from ci_controller.environments.keys import scope_of
from tests.unit.controller.environments.conftest import Bench

DAY = 86_400.0


async def test_a_job_without_a_setup_has_none(bench: Bench) -> None:
    plan = bench.plan().model_copy(update={"setup": None})
    assert await bench.choice(plan) is None


async def test_where_nothing_can_be_kept_there_is_none(bench: Bench) -> None:
    bench.maker.basis = None
    assert await bench.choice(bench.plan()) is None


async def test_one_is_made_from_the_inputs_alone_once_the_setup_has_succeeded(bench: Bench) -> None:
    plan = bench.plan()
    job = await bench.started(plan)
    assert job.environment == JobEnvironment(job.environment.key, hit=False) if job.environment else False
    await bench.turn()
    assert bench.maker.made == []
    await bench.run(job)
    await bench.turn()
    assert job.environment is not None
    assert bench.maker.made == [(job.environment.key, ["deps.txt"])]
    assert bench.directories() == []
    bench.pass_time(60)
    choice = await bench.choice(plan)
    assert choice == JobEnvironment(
        job.environment.key, hit=True, created=bench_created(choice), age=60.0, reference="sha256:1"
    )
    start = bench.environments.start_of(job.with_changes(environment=choice), plan)
    assert (start.plan.image, start.skipped) == ("sha256:1", 1)
    assert start.note.endswith("made 1 min ago")


@pytest.mark.parametrize(
    ("name", "value", "is_same"),
    [
        ("PYTEST_ADDOPTS", "tests/test_a.py::test_bad", True),
        ("GOFLAGS", "-run=^(TestA)$", True),
        ("GOFLAGS", "-mod=mod", False),
        ("GOFLAGS", "-run=^(TestA)$ -mod=mod", False),
        ("MAVEN_ARGS", "-Dtest=A#b -Dsurefire.failIfNoSpecifiedTests=false", True),
        ("MAVEN_ARGS", "-Dtest=A#b -Prelease", False),
        ("PIP_INDEX_URL", "https://example.com/simple", False),
    ],
)
async def test_which_tests_are_chosen_is_no_part_of_the_key(bench: Bench, name: str, value: str, is_same: bool) -> None:
    plan = bench.plan()
    plain, chosen = await bench.choice(plan), await bench.choice(plan.model_copy(update={"env": {name: value}}))
    assert plain is not None
    assert chosen is not None
    assert (plain.key == chosen.key) is is_same


async def test_an_attempt_that_runs_its_setup_sees_what_was_downloaded_for_its_project(bench: Bench) -> None:
    plan = bench.plan(f"ls {DOWNLOADED}")
    job = await bench.started(plan)
    assert bench.environments.start_of(job, plan).downloads is None
    downloads = bench.data.downloads / scope_of(job)
    downloads.mkdir(parents=True)
    assert bench.environments.start_of(job, plan).downloads == downloads
    assert bench.environments.start_of(job.with_changes(project="another"), plan).downloads is None
    hit = JobEnvironment("key", hit=True, reference="sha256:1")
    assert bench.environments.start_of(job.with_changes(environment=hit), plan).downloads is None


def bench_created(choice: object) -> int | None:
    return choice.created if isinstance(choice, JobEnvironment) else None


@pytest.mark.parametrize("conclusion", [Conclusion.FAILED, Conclusion.CANCELLED, Conclusion.TIMED_OUT])
async def test_a_setup_that_did_not_succeed_keeps_nothing(bench: Bench, conclusion: Conclusion) -> None:
    job = await bench.started(bench.plan())
    running = await bench.run(job, code=1)
    await bench.end(running, conclusion)
    await bench.turn()
    assert bench.maker.made == []
    assert bench.directories() == []


async def test_inputs_that_are_not_those_that_were_submitted_are_not_used(bench: Bench) -> None:
    plan = bench.plan()
    (bench.path / "project" / "deps.txt").write_text("poison")
    job = await bench.started(plan)
    await bench.run(job)
    await bench.turn()
    assert bench.maker.made == []
    assert bench.directories() == []


async def test_what_the_job_does_to_its_inputs_later_does_not_matter(bench: Bench) -> None:
    job = await bench.started(bench.plan())
    (bench.data.run_of(job).workspace / "deps.txt").write_text("poison")
    build = next(iter(bench.environments.builds._builds.values()))
    assert (build.make_run() / "workspace" / "deps.txt").read_text() == "one"
    (build.directory / "inputs" / "deps.txt").write_text("poison")
    with pytest.raises(InputsChanged):
        build.make_run()


async def test_jobs_that_come_together_make_it_once(bench: Bench) -> None:
    jobs = [await bench.started(bench.plan()) for _ in range(3)]
    for job in jobs:
        await bench.run(job)
    await bench.turn()
    await bench.turn()
    assert len(bench.maker.made) == 1


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({"owner": "another"}, True),
        ({"project": "another"}, True),
        ({"priority": 7}, False),
        ({"labels": {"a": "b"}}, False),
    ],
)
async def test_whose_it_is(bench: Bench, change: dict[str, Any], is_another: bool) -> None:
    plan = bench.plan()
    await bench.prepared(plan)
    choice = await bench.choice(plan, **change)
    assert isinstance(choice, JobEnvironment)
    assert choice.hit is not is_another


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({"env": {"A": "b"}}, True),
        ({"directory": "sub"}, True),
        ({"network": False}, True),
        ({"timeout": 7.0}, False),
        ({"stop_grace": 7.0}, False),
    ],
)
async def test_what_it_depends_on(bench: Bench, change: dict[str, Any], is_another: bool) -> None:
    plan = bench.plan()
    await bench.prepared(plan)
    choice = await bench.choice(plan.model_copy(update=change))
    assert isinstance(choice, JobEnvironment)
    assert choice.hit is not is_another


async def test_another_image_and_another_text_are_another_environment(bench: Bench) -> None:
    await bench.prepared(bench.plan())
    other = await bench.choice(bench.plan("install more"))
    assert isinstance(other, JobEnvironment)
    assert not other.hit
    bench.maker.basis = "another image"
    other = await bench.choice(bench.plan())
    assert isinstance(other, JobEnvironment)
    assert not other.hit


async def test_one_that_is_gone_from_its_runtime_is_made_again(bench: Bench) -> None:
    plan = bench.plan()
    await bench.prepared(plan)
    bench.maker.there.clear()
    job = await bench.started(plan)
    assert job.environment is not None
    assert not job.environment.hit
    await bench.run(job)
    await bench.turn()
    assert len(bench.maker.made) == 2


async def test_a_fresh_job_replaces_it(bench: Bench) -> None:
    await bench.prepared(bench.plan())
    job = await bench.started(bench.plan(fresh=True))
    assert job.environment is not None
    assert not job.environment.hit
    await bench.run(job)
    await bench.turn()
    (stored,) = await bench.storage.environments.list(limit=10)
    assert stored.reference == "sha256:2"


@pytest.mark.parametrize(
    ("age", "pinned", "renewed"), [(DAY, False, True), (DAY - 1, False, False), (DAY, True, False)]
)
async def test_an_old_one_is_renewed_after_the_job_that_used_it(
    bench: Bench, age: float, pinned: bool, renewed: bool
) -> None:
    plan = bench.plan(pinned=pinned)
    await bench.prepared(plan)
    bench.pass_time(age)
    job = await bench.started(plan)
    assert job.environment is not None
    assert job.environment.hit
    running = await bench.run(job)
    await bench.turn()
    assert len(bench.maker.made) == 1
    await bench.end(running)
    await bench.turn()
    assert len(bench.maker.made) == 1 + renewed
    assert bench.directories() == []


async def test_a_setup_that_fails_apart_from_its_job_says_so_and_is_not_tried_again_soon(bench: Bench) -> None:
    plan = bench.plan()
    bench.maker.fault = SetupFailed("it needs more")
    await bench.prepared(plan)
    job = await bench.started(plan)
    assert bench.environments.start_of(job, plan).note == "ci: no environment is kept of this setup: it needs more"
    await bench.run(job)
    await bench.turn()
    assert len(bench.maker.made) == 1
    bench.pass_time(3600)
    job = await bench.started(plan)
    await bench.run(job)
    await bench.turn()
    assert len(bench.maker.made) == 2


async def test_jobs_wait_for_it_as_long_as_the_setup_took(bench: Bench) -> None:
    plan = bench.plan()
    job = await bench.started(plan)
    await bench.run(job)  # Its setup took two seconds.
    (build,) = bench.environments.builds._builds.values()
    assert await bench.environments.builds._is_wanted(build)
    assert build.patience == 2.0
    build.began = bench.up
    waits = await bench.choice(plan)
    assert isinstance(waits, Reason)
    assert waits.code is ReasonCode.PREPARING_ENVIRONMENT
    bench.pass_time(2)
    assert isinstance(await bench.choice(plan), JobEnvironment)


async def test_with_no_room_for_any_there_are_none(bench: Bench) -> None:
    bench.environments = bench.another(prepared_bytes=0)
    assert await bench.choice(bench.plan()) is None


async def test_the_last_use_is_noted(bench: Bench) -> None:
    plan = bench.plan()
    await bench.prepared(plan)
    for seconds in (30, 30):
        bench.pass_time(seconds)
        await bench.started(plan)
    (stored,) = await bench.storage.environments.list(limit=10)
    assert stored.last_used_time == bench.now


@pytest.mark.parametrize("has_run", [True, False])
async def test_a_later_controller_makes_what_was_staged(bench: Bench, has_run: bool) -> None:
    plan = bench.plan()
    job = await bench.started(plan)
    if has_run:
        await bench.run(job)
    later = bench.another()
    await later.builds._resume()
    assert len(bench.directories()) == len(await later.builds.directories()) == 1
    if not has_run:
        await bench.turn(later)
        assert bench.maker.made == []
        await bench.run(job)
    await bench.turn(later)
    assert job.environment is not None
    assert bench.maker.made == [(job.environment.key, ["deps.txt"])]
    assert bench.directories() == []


async def test_what_was_not_staged_completely_is_not_made(bench: Bench) -> None:
    job = await bench.started(bench.plan())
    (build,) = bench.environments.builds._builds.values()
    (build.directory / "build.json").unlink()
    await bench.run(job)
    later = bench.another()
    await later.builds._resume()
    assert await later.builds.directories() == set()


async def test_what_another_runtime_is_to_make_is_left_to_it(bench: Bench) -> None:
    await bench.started(bench.plan())
    bench.maker.name = "process"
    later = bench.another()
    await later.builds._resume()
    assert await later.builds.directories() == set()
    assert len(bench.directories()) == 1


async def test_one_that_was_made_for_another_job_since_is_not_made_again(bench: Bench) -> None:
    plan = bench.plan()
    first = await bench.started(plan)
    late = await bench.started(plan)
    await bench.run(first)
    await bench.turn()
    await bench.environments.note_use(late, plan)
    await bench.run(late)
    await bench.turn()
    assert len(bench.maker.made) == 1
    assert bench.directories() == []
