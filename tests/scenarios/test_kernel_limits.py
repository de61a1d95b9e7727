"""Limits that the kernel enforces on containers, as the job's end tells of them."""

from pathlib import Path

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode
from tests.helpers.installation import Installation, completed, installation_of

pytestmark = pytest.mark.docker


@pytest.fixture
def installation(tmp_path: Path, busybox_image: str) -> Installation:
    return installation_of(tmp_path, "docker", busybox_image)


async def run(installation: Installation, *shell: str, **limits: object) -> Job:
    job = await installation.submit(*shell, plan={"limits": limits})
    async with installation.storage() as storage, installation.controller():
        return await completed(storage, job.id)


def how(job: Job) -> tuple[Conclusion | None, ReasonCode | None, int | None]:
    return job.conclusion, job.reason.code if job.reason is not None else None, job.exit_code


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("exec tail /dev/zero", (Conclusion.ERRORED, ReasonCode.OUT_OF_MEMORY, 137)),
        ("tail /dev/zero", (Conclusion.ERRORED, ReasonCode.OUT_OF_MEMORY, 137)),
        ("tail /dev/zero; exit 3", (Conclusion.FAILED, ReasonCode.OUT_OF_MEMORY, 3)),
        ("tail /dev/zero || echo coped", (Conclusion.SUCCEEDED, None, 0)),
        ("kill -9 $$", (Conclusion.FAILED, ReasonCode.EXIT_CODE, 137)),
        ("exit 137", (Conclusion.FAILED, ReasonCode.EXIT_CODE, 137)),
    ],
    ids=["itself", "child", "caught", "coped", "killed", "exit 137"],
)
async def test_want_of_memory_is_told_from_exit_code_137(
    installation: Installation, shell: str, expected: tuple[object, ...]
) -> None:
    assert how(await run(installation, shell, memory="16m")) == expected


async def test_an_earlier_steps_want_of_memory_is_not_blamed_for_a_later_end(installation: Installation) -> None:
    job = await run(installation, "tail /dev/zero || true", "exit 137", memory="16m")
    assert how(job) == (Conclusion.FAILED, ReasonCode.EXIT_CODE, 137)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["for i in 1 2 3 4 5 6; do sleep 1 & done; wait"], (Conclusion.FAILED, ReasonCode.PIDS_LIMIT, 2)),
        (["( for i in 1 2 3 4 5 6; do sleep 1 & done ); true"], (Conclusion.SUCCEEDED, None, 0)),
        (["exit 2"], (Conclusion.FAILED, ReasonCode.EXIT_CODE, 2)),
    ],
    ids=["itself", "coped", "other"],
)
async def test_processes_that_cannot_start(
    installation: Installation, steps: list[str], expected: tuple[object, ...]
) -> None:
    assert how(await run(installation, *steps, pids=3)) == expected
