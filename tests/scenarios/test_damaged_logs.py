"""Jobs that open their log by another name, cut, replace or remove it: what was in it stays, or the job is errored.

And jobs that write into it after their end: readers do not see that.
"""

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.attempts.parts import StepStatus
from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.run_directory.attributes import allow_changes, make_append_only
from ci_common.run_directory.layout import KEPT
from ci_common.spec import Retry
from ci_controller.execution import files
from ci_server.streaming.event_source import EventSource, Position
from tests.helpers.installation import Installation, completed, installation_of, nothing_left, reached
from tests.helpers.waiting import eventually

REOPENED = {
    "fd": "echo two >/dev/fd/2",
    "self": "echo two >/proc/self/fd/1",
    "pid": "echo two >/proc/$$/fd/2",
    "tee": "echo two | tee /dev/fd/2",
    "truncate": "truncate -s 0 /proc/self/fd/1",
    "dd": "echo two | dd of=/proc/self/fd/2",
    "name": "echo two >../log",
    "removed": "rm -f ../log; mv ../log ../other; echo two",
}
"""Shell text that truncates the log, or takes it away, where nothing keeps it from that."""


@pytest.fixture
def can_protect(tmp_path: Path) -> bool:
    (tmp_path / "probe").touch()
    return make_append_only(tmp_path / "probe") and allow_changes(tmp_path / "probe")


@pytest.fixture
def unprotected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without attributes, for jobs whose user is root."""
    monkeypatch.setattr(files, "make_append_only", lambda _: False)
    monkeypatch.setattr(files, "_READ_ONLY", 0o666)


async def run(installation: Installation, *shell: str) -> Job:
    job = await installation.submit(*shell)
    async with installation.storage() as storage, installation.controller():
        return await completed(storage, job.id)


def how(job: Job) -> tuple[Conclusion | None, ReasonCode | None]:
    return job.conclusion, job.reason.code if job.reason is not None else None


@pytest.mark.parametrize("kind", REOPENED)
async def test_what_was_in_the_log_stays(installation: Installation, kind: str, can_protect: bool) -> None:
    if not can_protect:
        pytest.skip("no file here can be kept from shrinking")
    many = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i + 1)); done"
    ended = await run(installation, many, f"{REOPENED[kind]}; echo on")
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    log = installation.log_of(ended)
    assert log.startswith(lines)
    assert log.endswith(b"on\n")
    assert ended.conclusion is Conclusion.SUCCEEDED
    assert (len(ended.steps), ended.log_bytes) == (2, len(log))


async def test_the_log_may_be_changed_once_the_attempt_is_cleared(installation: Installation) -> None:
    job = await installation.submit("echo one")
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
        await eventually(lambda: installation.files_left(ended) == KEPT, "the attempt is cleared")
    installation.data.run(job.id, 1).log.unlink()


@pytest.mark.usefixtures("unprotected")
@pytest.mark.parametrize("kind", sorted(set(REOPENED) - {"removed"}))
async def test_a_log_that_has_shrunk_is_noticed(installation: Installation, kind: str) -> None:
    many = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i + 1)); done"
    ended = await run(installation, many, f"{REOPENED[kind]}; exit 0")
    assert how(ended) == (Conclusion.ERRORED, ReasonCode.LOG_DAMAGED)
    assert ended.exit_code == 0
    assert ended.reason is not None
    assert ">&2" in ended.reason.message
    assert "48890 bytes" in ended.reason.message


@pytest.mark.usefixtures("unprotected")
async def test_a_log_that_has_as_many_other_bytes_is_noticed(installation: Installation) -> None:
    job = await installation.submit("echo one; while [ ! -e go ]; do sleep 0.02; done", "echo two >/dev/fd/2")
    async with installation.storage() as storage, installation.controller():
        run = installation.data.run(job.id, 1)
        await reached(storage, job.id, State.RUNNING)
        await eventually(lambda: run.log_size() == 4 and run.times.exists(), "the first line has been seen")
        (run.workspace / "go").touch()
        ended = await completed(storage, job.id)
    assert how(ended) == (Conclusion.ERRORED, ReasonCode.LOG_DAMAGED)


@pytest.mark.usefixtures("unprotected")
@pytest.mark.parametrize(
    "text", ["rm ../log", "rm ../log; : >../log", "mv ../log ../other; ln -s /etc/hostname ../log"]
)
async def test_a_log_that_was_removed_is_put_back(installation: Installation, text: str) -> None:
    job = await installation.submit(f"echo one; while [ ! -e go ]; do sleep 0.02; done; {text}; echo two")
    async with installation.storage() as storage, installation.controller():
        run = installation.data.run(job.id, 1)
        await eventually(lambda: installation.has_log(job) and run.log_size() == 4, "the job has begun")
        await asyncio.to_thread((run.workspace / "go").touch)
        ended = await completed(storage, job.id)
    assert how(ended) == (Conclusion.ERRORED, ReasonCode.LOG_DAMAGED)
    assert installation.log_of(ended) == b"one\ntwo\n"
    assert stat.S_ISREG(os.lstat(run.log).st_mode)


@pytest.mark.parametrize("protected", [True, False], ids=["protected", "unprotected"])
@pytest.mark.parametrize("last", ["true", "kill -9 $$"], ids=["succeeds", "fails"])
async def test_a_job_that_removes_its_run_directory(
    installation: Installation, protected: bool, last: str, request: pytest.FixtureRequest
) -> None:
    if not protected:
        request.getfixturevalue("unprotected")
    job = await installation.submit("echo one", f"cd ..; rm -rf ./*; {last}")
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
    assert how(ended) == (Conclusion.ERRORED, ReasonCode.LOG_DAMAGED)
    assert installation.log_of(ended).startswith(b"one\n")


async def test_a_job_that_keeps_its_end_from_being_written(installation: Installation) -> None:
    ended = await run(installation, "echo one; mkdir ../exit", "exit 3")
    assert how(ended) == (Conclusion.ERRORED, ReasonCode.LOG_DAMAGED)
    assert ended.exit_code == 3
    assert installation.log_of(ended).startswith(b"one\n")
    assert [step.status for step in ended.steps] == [StepStatus.SUCCEEDED, StepStatus.FAILED]


async def test_a_job_that_removes_gate_and_marks_is_stopped_in_time(installation: Installation) -> None:
    job = await installation.submit("rm ../gate ../started; : >ready; sleep 600", timeout=1.0)
    async with installation.storage() as storage, installation.controller():
        ended = await completed(storage, job.id)
    assert how(ended) == (Conclusion.TIMED_OUT, ReasonCode.DEADLINE_EXCEEDED)


@pytest.mark.docker
@pytest.mark.parametrize("record", ["0 last", "3 oom:0 last"], ids=["completes", "is tried again"])
async def test_what_a_job_writes_after_its_end_reaches_nobody(tmp_path: Path, busybox_image: str, record: str) -> None:
    """It writes what its script would write at the end, and runs on; what runs on is killed, and says no last word."""
    docker = installation_of(tmp_path, "docker", busybox_image)
    twice = Retry(max_attempts=2, backoff=0.01, max_backoff=0.01)
    runs_on = f"trap 'echo heard' TERM; echo '{record}' >../exit; while :; do echo more; done"
    job = await docker.submit(runs_on, retry=twice)
    async with docker.storage() as storage, docker.controller() as parts:
        ended = (await completed(storage, job.id)).as_of(1)
        await nothing_left(parts.runtimes["docker"])
    run, length = docker.data.run(job.id, 1), ended.log_bytes or 0
    # A reader that has not heard of the end.
    source = EventSource(lambda: replace(ended, state=State.RUNNING, log_bytes=None), docker.data.run_of)
    seen = Position(1, 0)
    while (after := source.next(seen).after) != seen:
        seen = after
    assert seen.offset <= length < run.log_size()
    assert b"heard" not in run.log.read_bytes()
