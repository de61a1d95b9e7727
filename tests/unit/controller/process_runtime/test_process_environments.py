"""Prepared environments of the process runtime: kept once, given to each job as a copy of its own."""

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.environments import PlannedSetup
from ci_common.jobs import new_job_id
from ci_common.run_directory.inputs import digest_of
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import ImageNotFound, SetupFailed
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.copying import copy_tree
from ci_controller.run_directory.preparation import prepare, write_script
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import PreparedEnvironment, WorkloadKey, WorkloadSpec
from tests.contracts.runtime_suite.trial import Trial
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually


def plan(setup: str, *steps: str, **fields: Any) -> ExecutionPlan:
    planned = PlannedSetup(steps=1, digest=digest_of(Path(), ()))
    return plan_of(*shell_steps(setup, *steps)).model_copy(update={"setup": planned, **fields})


class Bench:
    """A runtime, and the environments and jobs of it."""

    def __init__(self, runtime: ProcessRuntime, data: DataDirectory) -> None:
        self.runtime = runtime
        self.data = data

    async def make(self, wanted: ExecutionPlan) -> PreparedEnvironment:
        run = self.data.environments / new_job_id() / "run"
        (run / "workspace").mkdir(parents=True)
        return await self.runtime.make_environment("key", wanted, run, self.data.downloads / "scope")

    def job(self, wanted: ExecutionPlan, reference: str | None = None, attempt: int = 1) -> Trial:
        """Return a job whose script is as the controller writes it."""
        key = WorkloadKey(new_job_id(), attempt)
        spec = WorkloadSpec(key, self.data.run(key.job_id, attempt), wanted, environment=reference)
        around = self.runtime.describe(wanted, spec.run)
        setup = around.setup
        if setup is not None and reference is not None:
            setup = replace(setup, program=())
        skipped = 0 if reference is None else 1
        script = write_script(
            wanted, base=str(around.base), environment=around.environment, setup=setup, skipped=skipped
        )
        prepare(spec.run, script, has_console=False)
        return Trial(self.runtime, spec)

    async def log_of(self, wanted: ExecutionPlan, reference: str | None = None, attempt: int = 1) -> list[str]:
        job = self.job(wanted, reference, attempt)
        assert (await job.execute()).exit_code == 0, job.run.log.read_text()
        return job.run.log.read_text().splitlines()

    async def spare(self, reference: str) -> Path:
        place = self.data.trees / reference / "spare"
        await eventually(place.is_dir, "a spare copy is made")
        return place

    def left(self) -> list[str]:
        return [*os.listdir(self.data.trees)] + [name for name in os.listdir(self.data.processes) if name != "ended"]


@pytest.fixture
def bench(runtime: ProcessRuntime, data: DataDirectory) -> Bench:
    return Bench(runtime, data)


async def test_a_job_starts_from_what_a_setup_made(bench: Bench) -> None:
    wanted = plan('echo one >"$CI_ENV/made"; echo the setup', 'cat "$CI_ENV/made"; echo poison >>"$CI_ENV/made"')
    assert await bench.log_of(wanted) == ["the setup", "one"]
    made = await bench.make(wanted)
    assert await bench.runtime.has_environment(made.reference, wanted)
    assert await bench.runtime.list_environments() == {made.reference}
    for _ in range(3):  # With and without a spare copy.
        assert await bench.log_of(wanted, made.reference) == ["one"]
    await bench.spare(made.reference)
    assert await bench.log_of(wanted, made.reference) == ["one"]
    await bench.runtime.remove_environment(made.reference)
    assert await bench.runtime.list_environments() == set()
    with pytest.raises(ImageNotFound):
        await bench.runtime.create(bench.job(wanted, made.reference).spec)


async def test_a_virtual_environment_works_at_each_jobs_own_place(bench: Bench) -> None:
    show = 'pip --version; python -c "import sys; print(sys.prefix)"; command -v pip; cat "$CI_ENV/link"'
    setup = 'echo linked >"$CI_ENV/file"; ln -s "$CI_ENV/file" "$CI_ENV/link"'
    wanted = plan(setup, show, python_environment=True)
    made = await bench.make(wanted)
    for attempt in (1, 10):
        job = bench.job(wanted, made.reference, attempt)
        assert (await job.execute()).exit_code == 0
        version, *others = job.run.log.read_text().splitlines()
        place = job.run.environment
        assert f" from {place}/lib/" in version
        assert others == [str(place), f"{place}/bin/pip", "linked"]
        assert bench.data.trees.as_posix() not in (place / "bin" / "pip").read_text()
        assert os.readlink(place / "link") == str(place / "file")


async def test_no_file_of_a_copy_is_that_of_the_environment(bench: Bench) -> None:
    wanted = plan('cd "$CI_ENV"; echo one >a; ln a b; chmod 700 a; mkdir -p c/d; : >c/d/e; ln -s a f', "true")
    made = await bench.make(wanted)
    spare = await bench.spare(made.reference)
    job = bench.job(wanted, made.reference)
    await bench.runtime.create(job.spec)
    trees = (bench.data.trees / made.reference / "tree", await bench.spare(made.reference), job.run.environment)
    numbers = [{path.lstat().st_ino for path in tree.rglob("*")} for tree in trees]
    assert not numbers[0] & numbers[1]
    assert not numbers[0] & numbers[2]
    assert not numbers[1] & numbers[2]
    assert {path.name for path in job.run.environment.rglob("*")} == set("abcdef")
    assert stat.S_IMODE((spare / "a").stat().st_mode) == 0o700
    await bench.runtime.remove(job.key)


async def test_a_job_that_has_ended_leaves_no_copy(bench: Bench) -> None:
    wanted = plan('echo one >"$CI_ENV/a"', "true")
    made = await bench.make(wanted)
    job = bench.job(wanted, made.reference)
    await job.execute()
    await bench.runtime.remove(job.key)
    await bench.runtime.delete_tree(job.run.environment)
    assert not job.run.environment.exists()
    await eventually(lambda: bench.left() == [made.reference], "the copy is deleted")


async def test_preparing_it_again_changes_nothing(bench: Bench) -> None:
    wanted = plan('echo "$CI_ENV" >"$CI_ENV/place"', 'cat "$CI_ENV/place"')
    made = await bench.make(wanted)
    job = bench.job(wanted, made.reference)
    for _ in range(2):
        await bench.runtime.create(job.spec)
    await job.execute()
    assert job.run.log.read_text() == f"{job.run.environment}\n"


@pytest.mark.parametrize(
    ("setup", "why"),
    [
        ('echo x >"$CI_ENV/x"; exit 3', "the setup ended with exit code 3"),
        ("echo x >in-the-workspace", "writes 'in-the-workspace' into the project's directory"),
        ("true", r"writes nothing into the directory \$CI_ENV"),
        ('echo x >"$CI_ENV/x"; sleep 60', "ran longer than its timeout of 0.5 s"),
        ('echo x >"$CI_ENV/x"; kill -9 $$', "the setup ended with exit code 137"),
    ],
)
async def test_nothing_is_kept_of_a_setup_that_fails(bench: Bench, setup: str, why: str) -> None:
    with pytest.raises(SetupFailed, match=why):
        await bench.make(plan(setup, timeout=0.5 if "sleep" in setup else 60))
    assert bench.left() == []


async def test_nothing_is_kept_of_a_setup_that_is_cancelled(bench: Bench, tmp_path: Path) -> None:
    started = tmp_path / "started"
    making = asyncio.create_task(bench.make(plan(f"echo $$ >{started}.new; mv {started}.new {started}; sleep 60")))
    await eventually(started.exists, "the setup runs")
    assert await bench.runtime.list_environments() == set()  # Nothing that could be taken for garbage.
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert bench.left() == []
    assert not Path("/proc", started.read_text().strip()).exists()


async def test_the_next_controller_ends_a_setup_whose_controller_died(bench: Bench, tmp_path: Path) -> None:
    started = tmp_path / "started"
    wanted = plan(f'echo x >"$CI_ENV/x"; echo $$ >{started}.new; mv {started}.new {started}; sleep 60')
    making = asyncio.create_task(bench.make(wanted))
    await eventually(started.exists, "the setup runs")
    other = ProcessRuntime(Settings(data_dir=bench.data.path), bench.data)
    await other.open()
    await other.begin_term()
    assert not Path("/proc", started.read_text().strip()).exists()
    (unfinished,) = await other.list_environments()
    assert not await other.has_environment(unfinished, wanted)
    with pytest.raises((SetupFailed, OSError)):
        await making
    await other.remove_environment(unfinished)
    assert bench.left() == []


async def test_the_basis_knows_the_machine_and_the_kind_of_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await bench.runtime.basis_of(plan("true"))
    assert one == await bench.runtime.basis_of(plan("other"))
    assert one != await bench.runtime.basis_of(plan("true", python_environment=True))
    monkeypatch.setenv("LANG", "xx")
    assert one != await bench.runtime.basis_of(plan("true"))


def test_a_copy_has_modes_times_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed" / "file").write_bytes(b"x" * 100_000)
    (source / "empty").touch(mode=0o640)
    (source / "dangling").symlink_to("nowhere")
    os.mkfifo(source / "pipe")
    os.utime(source / "closed" / "file", ns=(1, 2))
    (source / "closed").chmod(0o500)
    for number, missing in enumerate([None, "copy_file_range"]):
        if missing:
            monkeypatch.delattr(os, missing)
        target = tmp_path / f"target-{number}"
        copy_tree(str(source), str(target))
        assert {path.name for path in target.rglob("*")} == {"closed", "file", "empty", "dangling"}
        copied = target / "closed" / "file"
        assert copied.read_bytes() == b"x" * 100_000
        assert copied.stat().st_mtime_ns == 2
        assert stat.S_IMODE((target / "closed").stat().st_mode) == 0o500
        assert stat.S_IMODE((target / "empty").stat().st_mode) == 0o640
        assert os.readlink(target / "dangling") == "nowhere"


def test_a_jobs_place_is_as_long_as_that_of_its_environment(data: DataDirectory) -> None:
    """So it can be replaced in files of any kind."""
    run: RunDirectory = data.run(new_job_id(), 1)
    assert len(str(run.environment)) == len(str(data.trees / new_job_id() / "tree"))
