"""What readers survive, what they do not, and what becomes of the task then."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import DiskLow, InvalidRequest, InvalidUpload, RequestError, Unavailable
from ci_common.sandbox.channel import ReadingLimits, Task
from ci_common.sandbox.pool import AT_ONCE, Pace, Readers
from ci_common.sandbox.process import ReaderLost
from ci_common.system.processes import state_and_start_of
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = pytest.mark.slow

MODULE = "tests.unit.common.sandbox.reader_tasks"
LIMITS = ReadingLimits(seconds=1, memory=64 * 1024**2)
EAGER = Pace(slow=0.05, waiting=0.01)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, the time by the clock must not run out first."""
    monkeypatch.setattr(ReadingLimits, "longest_silence", property(lambda _: 10 * PATIENCE))


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    async with Readers(MODULE, LIMITS, pace=EAGER) as readers:
        yield readers


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    for name in ("pyproject.toml", "setup.py", "new\nline"):
        (root / name).write_text("")
    return root


def task(name: str, root: Path, **argument: Any) -> Task:
    return Task(name, {"root": str(root), **argument}, root)


def lives(pid: int) -> bool:
    return state_and_start_of(pid) is not None


async def test_one_reader_does_task_after_task(readers: Readers, project: Path) -> None:
    answers = [await readers.do(task("echo", project, text="\udcff ä \0")) for _ in range(3)]
    assert {answer["text"] for answer in answers} == {"\udcff ä \0"}
    assert len({answer["pid"] for answer in answers}) == 1


async def test_a_reader_has_nothing_of_the_server(
    readers: Readers, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    held = os.open(project, os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        async with Readers(MODULE, LIMITS) as others:
            has = await others.do(task("what_it_has", project))
    finally:
        os.close(held)
    assert "SECRET" not in has["environment"]
    assert has["cwd"] == "/"
    assert str(project) not in has["descriptors"]
    assert len(has["descriptors"]) < 10


@pytest.mark.parametrize(
    ("opens", "message"),
    [
        (["pyproject.toml"], "pyproject.toml takes more than 1 seconds of a processor to read (CI_READ_TIMEOUT)"),
        (["pyproject.toml", "setup.py", "not.there"], "one of setup.py, pyproject.toml takes more than 1 seconds"),
        (["new\nline"], "'new\\nline' takes more than 1 seconds"),
        ([], "the upload takes more than 1 seconds"),
    ],
)
async def test_what_takes_too_long_is_refused_by_name(
    readers: Readers, project: Path, opens: list[str], message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await readers.do(task("spin", project, opens=opens))
    assert str(refused.value).startswith(message)
    assert [error.path for error in refused.value.errors] == [
        ascii(name) if "\n" in name else name for name in reversed(opens) if (project / name).exists()
    ]
    assert await readers.do(task("echo", project)), "it has been replaced"


async def test_each_file_that_is_unpacked_has_the_time_for_itself(project: Path) -> None:
    async with Readers(MODULE, ReadingLimits(seconds=2)) as readers:
        await readers.do(task("unpack_slowly", project, files=3, seconds=1))
        with pytest.raises(InvalidUpload, match=r"^setup.py takes more than 2 seconds"):
            await readers.do(task("stick", project, at="setup.py"))


async def test_what_takes_too_much_memory_is_refused_by_name(readers: Readers, project: Path) -> None:
    assert await readers.do(task("eat", project, opens="setup.py", bytes=2**25)) == 2**25
    with pytest.raises(InvalidRequest, match=r"^setup.py takes more than 64 MiB of memory to read \(CI_READ_MEMORY\)"):
        await readers.do(task("eat", project, opens="setup.py", bytes=2**27))
    assert await readers.do(task("echo", project))


async def test_an_answer_that_is_too_long_is_refused(readers: Readers, project: Path) -> None:
    assert len(await readers.do(task("say", project, length=10**6))) == 10**6
    with pytest.raises(RequestError, match="asks for more than a plan can hold"):
        await readers.do(task("say", project, length=10**7))
    assert await readers.do(task("echo", project))


async def test_an_unforeseen_error_is_the_uploads(
    readers: Readers, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidRequest, match=r"^setup.py cannot be read: RecursionError: too deep"):
        await readers.do(task("fail", project, opens="setup.py"))
    assert "Traceback" in caplog.text
    assert "\n2026" not in caplog.text, "what it says begins no line of the log"
    assert "\x1b" not in caplog.text
    assert "setup.py" in caplog.text


async def test_errors_arrive_as_they_were_raised(readers: Readers, project: Path) -> None:
    with pytest.raises(InvalidUpload, match=r"^no good$") as refused:
        await readers.do(task("refuse", project, text="no good"))
    assert [(error.path, error.message) for error in refused.value.errors] == [("file", "\udcff")]
    with pytest.raises(OSError, match="No space left") as full:
        await readers.do(task("system_error", project, errno=errno.ENOSPC))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(InvalidUpload, match="File name too long"):
        await readers.do(task("system_error", project, errno=errno.ENAMETOOLONG))


async def test_reading_writes_nothing(readers: Readers, project: Path) -> None:
    with pytest.raises(OSError, match="File too large"):
        await readers.do(task("write", project))


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_reader_that_dies_is_replaced_and_the_task_done_again(
    readers: Readers, project: Path, tmp_path: Path, signal_number: int, caplog: pytest.LogCaptureFixture
) -> None:
    left = tmp_path / "lives"
    left.write_text("1")
    assert await readers.do(task("die", project, lives=str(left), signal=signal_number)) == {"survived": True}
    assert f"ended with {-signal_number}" in caplog.text
    left.write_text("2")
    with pytest.raises(ReaderLost, match=f"ended with {-signal_number}"):
        await readers.do(task("die", project, lives=str(left), signal=signal_number))
    assert await readers.do(task("echo", project))


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_idle_reader_that_was_killed_or_stopped_is_replaced(
    readers: Readers, project: Path, signal_number: int
) -> None:
    pid = (await readers.do(task("echo", project)))["pid"]
    os.kill(pid, signal_number)
    await eventually(lambda: (state_and_start_of(pid) or "T")[0] == "T")
    assert (await readers.do(task("echo", project)))["pid"] != pid
    await eventually(lambda: not lives(pid))


async def test_a_reader_that_hangs_is_lost_and_one_that_computes_is_over_the_limit(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadingLimits, "longest_silence", property(lambda _: 2.0))
    async with Readers(MODULE, ReadingLimits(seconds=10)) as readers:
        with pytest.raises(ReaderLost, match="said nothing for 2 seconds"):
            await readers.do(task("hold", project, begun=str(tmp_path / "begun")))
        with pytest.raises(InvalidRequest, match=r"^setup.py takes more than 2 seconds to read"):
            await readers.do(task("spin", project, opens=["setup.py"]))


async def test_a_caller_that_leaves_ends_the_reader(readers: Readers, project: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    doing = asyncio.create_task(readers.do(task("hold", project, begun=str(begun))))
    await eventually(lambda: begun.exists() and begun.read_text())
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    assert not lives(int(begun.read_text())), "it is gone before the task is"


async def test_what_the_caller_raises_ends_the_reader(readers: Readers, project: Path) -> None:
    def no_room() -> None:
        raise DiskLow(project, free=0, floor=1)

    pid = (await readers.do(task("echo", project)))["pid"]
    with pytest.raises(DiskLow):
        await readers.do(task("unpack_slowly", project, files=9, seconds=0.6), on_advance=no_room)
    assert not lives(pid)


async def test_nothing_is_left_where_the_server_stops(project: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Readers(MODULE, LIMITS) as readers:
        doing = asyncio.create_task(readers.do(task("hold", project, begun=str(begun))))
        await eventually(lambda: begun.exists() and begun.read_text())
        await readers.do(task("echo", project))
        pids = readers.pids
        assert len(pids) == 2
    assert not any(map(lives, pids))
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)


async def test_those_that_compute_for_long_do_not_hold_up_others(project: Path) -> None:
    limits = ReadingLimits(seconds=60)
    async with Readers(MODULE, limits, pace=EAGER) as readers:
        spinning = [asyncio.create_task(readers.do(task("spin", project, opens=[]))) for _ in range(2 * AT_ONCE)]
        async with asyncio.timeout(PATIENCE):
            await eventually(lambda: len(readers.pids) >= AT_ONCE)
            assert await readers.do(task("echo", project))
        assert not any(task.done() for task in spinning)
        priorities = [os.getpriority(os.PRIO_PROCESS, pid) for pid in readers.pids]
        assert sum(priority > os.getpriority(os.PRIO_PROCESS, 0) for priority in priorities) >= AT_ONCE
        for doing in spinning:
            doing.cancel()
        await asyncio.gather(*spinning, return_exceptions=True)


async def test_not_more_than_so_many_write_at_once(project: Path, tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(AT_ONCE + 1)]
    async with Readers(MODULE, ReadingLimits(), pace=EAGER) as readers:
        holding = [asyncio.create_task(readers.do(task("hold", project, begun=str(mark)))) for mark in marks]
        await eventually(lambda: sum(mark.exists() for mark in marks) == AT_ONCE)
        assert len(readers.pids) == AT_ONCE
        assert not marks[-1].exists(), "first come, first served"
        holding[0].cancel()
        await eventually(marks[-1].exists)
        for doing in holding:
            doing.cancel()
        await asyncio.gather(*holding, return_exceptions=True)


async def test_a_reader_that_has_grown_is_replaced(readers: Readers, project: Path) -> None:
    pid = (await readers.do(task("grow", project, bytes=60 * 1024**2)))["pid"]
    assert (await readers.do(task("echo", project)))["pid"] != pid


async def test_all_but_one_are_let_go_of_where_there_is_nothing_to_do(project: Path, tmp_path: Path) -> None:
    async with Readers(MODULE, LIMITS, pace=Pace(waiting=0.01, idle=0.05)) as readers:
        await asyncio.gather(*(readers.do(task("unpack_slowly", project, files=1, seconds=0.3)) for _ in range(3)))
        await eventually(lambda: len(readers.pids) == 1)
        assert await readers.do(task("echo", project))


async def test_a_machine_without_room_for_a_process_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    async with Readers(MODULE, LIMITS) as readers:
        with pytest.raises(Unavailable, match="no process can be started"):
            await readers.do(task("echo", project))
        monkeypatch.undo()
        assert await readers.do(task("echo", project)), "it is tried again"


async def test_a_reader_that_cannot_start_is_lost(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Readers("tests.helpers.no_such_module", LIMITS) as readers:
        with pytest.raises(ReaderLost, match="before it was ready"):
            await readers.do(task("echo", project))
