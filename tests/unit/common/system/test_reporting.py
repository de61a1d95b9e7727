import asyncio
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ci_common.system.reporting import GatheringHandler, LineFormatter, log_line
from tests.helpers.installation import ROOT

PROGRAM = """
import logging, sys
from ci_common.system.reporting import log_to_stderr
log_to_stderr(sys.argv[1])
for name in ("ci_server.requests", "library"):
    for level in ("INFO", "WARNING"):
        logging.getLogger(name).log(logging.getLevelName(level), "said")
"""


def said_at(level: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, level]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    return [" ".join(line.split()[2:4]) for line in done.stderr.splitlines()]


def test_our_own_lines_from_the_level_on_and_warnings_of_libraries() -> None:
    warnings = ["WARNING ci_server.requests:", "WARNING library:"]
    assert said_at("info") == ["INFO ci_server.requests:", *warnings]
    assert said_at("warning") == warnings
    assert said_at("error") == ["WARNING library:"]


def test_a_line_has_the_time_of_its_record() -> None:
    ours, usual = LineFormatter("%(asctime)s %(message)s"), logging.Formatter("%(asctime)s %(message)s")
    record = logging.makeLogRecord({"msg": "x"})
    for created in (1_000_000_000.25, 1_000_000_000.999, 1_000_000_001.0, 1_000_000_000.25):
        record.created, record.msecs = created, created % 1 * 1000
        assert ours.format(record) == usual.format(record)


class Written(io.StringIO):
    """Standard error: each write as a list of lines."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []
        self.has_some = asyncio.Event()

    def write(self, text: str) -> int:
        self.writes.append(text.splitlines())
        self.has_some.set()
        return len(text)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    written = Written()
    monkeypatch.setattr(sys, "stderr", written)
    return written


@pytest.fixture
def log(written: Written) -> Iterator[logging.Logger]:
    handler, logger = GatheringHandler(), logging.Logger("a logger")
    logger.addHandler(handler)
    yield logger
    handler.close()


async def test_lines_of_an_event_loop_are_written_together(written: Written, log: logging.Logger) -> None:
    for number in range(3):
        log.info("%d", number)
    assert written.writes == []
    await written.has_some.wait()
    log.info("later")
    written.has_some.clear()
    await written.has_some.wait()
    assert written.writes == [["0", "1", "2"], ["later"]]


async def test_a_warning_is_written_at_once_behind_what_came_before(written: Written, log: logging.Logger) -> None:
    log.info("first")
    log.warning("second")
    assert written.writes == [["first", "second"]]
    thread = threading.Thread(target=log.info, args=["of a thread"])
    log.info("third")
    thread.start()
    thread.join()
    assert written.writes[1:] == [["third", "of a thread"]]


async def test_very_many_lines_do_not_wait(written: Written, log: logging.Logger) -> None:
    for number in range(300):
        log.info("%d", number)
    assert len(written.writes) == 1


def test_without_an_event_loop_and_in_the_next_one_lines_are_written(written: Written, log: logging.Logger) -> None:
    async def say(text: str) -> None:
        log.info(text)

    async def say_and_wait(text: str) -> None:
        written.has_some.clear()
        log.info(text)
        await written.has_some.wait()

    log.info("at once")
    assert written.writes == [["at once"]]
    asyncio.run(say("of a loop that ends"))
    asyncio.run(say_and_wait("of another"))
    assert written.writes[1:] == [["of a loop that ends", "of another"]]


async def test_a_line_is_the_same_whoever_listens_besides(
    written: Written, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.handlers[0].setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    log_line(log, "GET / 100 %s")
    log.info("%s", "GET / 100 %s")
    records: list[str] = []
    other = logging.Handler()
    monkeypatch.setattr(other, "emit", lambda record: records.append(record.getMessage()))
    log.addHandler(other)
    log_line(log, "GET / 100 %s")
    await written.has_some.wait()
    assert written.writes == [["INFO a logger: GET / 100 %s"] * 3]
    assert records == ["GET / 100 %s"]


def test_what_waits_is_written_at_the_end_of_the_process() -> None:
    program = (
        PROGRAM.partition("for name")[0]
        + """
import asyncio
async def main():
    logging.getLogger("ci_server").info("the last line")
asyncio.run(main())
"""
    )
    done = subprocess.run([sys.executable, "-c", program, "info"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.endswith("the last line\n")
    assert done.returncode == 0
