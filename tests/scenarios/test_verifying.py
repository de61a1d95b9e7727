"""Verifying a setup: it runs again, and its result is compared with the environment, also after a controller died."""

from pathlib import Path

import pytest

from ci_common.environments import PlannedSetup, Verification
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.inputs import digest_of
from ci_persistence.storage import Storage
from tests.helpers.crash_points import dying
from tests.helpers.installation import Installation, completed, nothing_left
from tests.helpers.waiting import eventually

PLACE = "${CI_ENV:-/made}"
SAME = f'mkdir -p "{PLACE}"; cat deps.txt >"{PLACE}/made"; echo "$CI_ENV" >"{PLACE}/place"'
CLOCK = f'{SAME}; date +%s%N >"{PLACE}/time"; cat /proc/sys/kernel/random/uuid >>"{PLACE}/time"'
"""The time alone is not enough: busybox knows it in seconds."""


async def submit(installation: Installation, text: str, **setup: bool) -> Job:
    source = installation.directory / "project"
    source.mkdir(exist_ok=True)
    (source / "deps.txt").write_text("one\n")
    planned = PlannedSetup(steps=1, inputs=("deps.txt",), digest=digest_of(source, ["deps.txt"]), **setup)
    steps = (text,) if planned.verifies else (text, "true")
    return await installation.submit(*steps, files={"deps.txt": "one\n"}, plan={"setup": planned})


async def prepare(installation: Installation, storage: Storage, text: str) -> None:
    """Have an environment made of this setup."""

    async def is_made() -> bool:
        return bool(await storage.environments.list(limit=10))

    async with installation.controller():
        await completed(storage, (await submit(installation, text)).id)
        await eventually(is_made, "an environment is made")


def result_of(job: Job) -> Verification:
    assert job.conclusion is Conclusion.SUCCEEDED, job.reason
    assert job.result is not None
    return Verification.model_validate_json(job.result)


async def remove_environments(installation: Installation, storage: Storage) -> None:
    async with installation.runtime_of_its_own() as runtime:
        await nothing_left(runtime)
        for environment in await storage.environments.list(limit=10):
            await runtime.remove_environment(environment.reference)
        assert await runtime.list_environments() == set()


@pytest.mark.parametrize(("text", "different"), [(SAME, []), (CLOCK, ["time"])], ids=["same", "clock"])
async def test_a_setup_that_depends_on_the_clock_is_told_from_one_that_does_not(
    installation: Installation, text: str, different: list[str]
) -> None:
    async with installation.storage() as storage:
        await prepare(installation, storage, text)
        before = await storage.environments.list(limit=10)
        async with installation.controller():
            job = await completed(storage, (await submit(installation, text, verifies=True)).id)
        found = result_of(job)
        assert found.comparison is not None
        assert [Path(each.path).name for each in found.comparison.first] == different
        assert (found.same, found.comparison.files > 1) == (not different, True)
        assert (found.environment, await storage.environments.list(limit=10)) == (before[0].key, before)
        await remove_environments(installation, storage)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_controller_that_dies_while_it_compares(installation: Installation, when: str) -> None:
    async with installation.storage() as storage:
        await prepare(installation, storage, CLOCK)
        async with dying(installation, f"compare_environment/1/{when}") as controller:
            job = await submit(installation, CLOCK, verifies=True)
            assert await controller.end() == -9
        assert (await storage.jobs.get(job.id)).state is State.RUNNING
        async with installation.controller():
            ended = await completed(storage, job.id)
        assert (result_of(ended).same, ended.attempt) == (False, 1)
        await remove_environments(installation, storage)


async def test_without_an_environment_there_is_nothing_to_compare(installation: Installation) -> None:
    async with installation.storage() as storage:
        async with installation.controller():
            ended = await completed(storage, (await submit(installation, SAME, verifies=True)).id)
        assert ended.conclusion is Conclusion.ERRORED
        assert ended.reason is not None
        assert "there is no environment of this setup" in ended.reason.message
        await remove_environments(installation, storage)
