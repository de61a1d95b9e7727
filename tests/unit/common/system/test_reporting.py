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
