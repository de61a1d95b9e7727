"""Nothing grows while jobs come and go: a short run of what `make endurance` does at length."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_nothing_grows(runtime: str) -> None:
    command = [sys.executable, "-m", "bench.endurance", "--runtime", runtime, "--jobs", "90", "--samples", "9"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
