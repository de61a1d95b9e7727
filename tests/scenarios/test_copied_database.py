"""A copy of a whole installation is started beside the original: neither touches what is the other's."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from ci_common.jobs import Conclusion, ReasonCode, State
from ci_common.owner_file import WrongDataDirectory
from ci_common.run_directory.layout import KEPT
from ci_controller.ownership import adopt, plan_adoption
from tests.helpers.installation import Installation, completed, nothing_left, reached
from tests.helpers.waiting import eventually


async def test_a_copy_leaves_the_running_jobs_of_the_original_alone(installation: Installation) -> None:
    elsewhere = installation.directory / "elsewhere"
    elsewhere.mkdir()
    settings = {"CI_DB_PATH": str(elsewhere / "ci_jobs.db"), "CI_LEASE_SECONDS": "1"}
    copy = replace(installation, directory=elsewhere, environment={**installation.environment, **settings})
    original = replace(installation, environment={**installation.environment, "CI_LEASE_SECONDS": "1"})

    job = await original.submit("echo ran; while [ ! -e go ]; do sleep 0.02; done; exit 3")
    run = original.data.run(job.id, 1)
    async with original.storage() as storage, original.controller() as parts:
        await reached(storage, job.id, State.RUNNING)
        await eventually(lambda: run.log_size() == 4, "its code has begun")
        with (
            closing(sqlite3.connect(original.settings.db_path)) as source,
            closing(sqlite3.connect(copy.settings.db_path)) as target,
        ):
            source.backup(target)
        ignored = shutil.ignore_patterns("gate", "console", "stop")  # Not even `cp -r` reads from a FIFO.
        shutil.copytree(original.data.path, copy.data.path, ignore=ignored)

        with pytest.raises(WrongDataDirectory, match="is a copy of"):
            async with copy.controller():
                pass
        async with copy.storage() as copied:
            await adopt(await plan_adoption(copy.settings, copied, as_copy=False), copied, lambda _: None)
        async with copy.storage() as copied, copy.controller() as others:
            there = await completed(copied, job.id)
            assert there.reason is not None
            assert there.reason.code is ReasonCode.RESTORED
            await eventually(lambda: copy.files_left(job) <= KEPT, "the copy has cleared its own files")
            assert await others.runtimes[copy.runtime].list_workloads() == []

        assert [s.key.job_id for s in await parts.runtimes[original.runtime].list_workloads()] == [job.id]
        (run.workspace / "go").touch()
        here = await completed(storage, job.id)
        await nothing_left(parts.runtimes[original.runtime])
    assert (here.conclusion, here.exit_code) == (Conclusion.FAILED, 3)
    assert original.log_of(job) == b"ran\n"
