import subprocess
import sys

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


def test_what_is_said_in_one_turn_of_the_event_loop_is_written_together_and_what_is_urgent_at_once() -> None:
    program = """
import asyncio, logging, sys
from ci_common.system.reporting import log_to_stderr

class Counting:
    def __init__(self): self.writes = []
    def write(self, text): self.writes.append(text.count("\\n"))
    def flush(self): pass

log_to_stderr("info", form="%(message)s")
log, sys.stderr = logging.getLogger("ci_server"), Counting()

async def main():
    for _ in range(3):
        log.info("said")
    assert sys.stderr.writes == []
    await asyncio.sleep(0)
    assert sys.stderr.writes == [3]
    log.info("said")
    log.warning("said")
    assert sys.stderr.writes == [3, 2]
    await asyncio.to_thread(log.info, "said")
    assert sys.stderr.writes == [3, 2, 1]
    log.info("said")

asyncio.run(main())
log.info("said")
logging.shutdown()
print(sum(sys.stderr.writes))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "8\n"
