"""What a run of the tests leaves is found, and nothing else is."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.machine import VARIABLE, kill, mark_this_run, processes_left
from tests.helpers.postgresql.server import running_server

MARK = "the mark of this test"
WAIT = ["/bin/sh", "-c", "read never"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return directory


def left_by(tmp_path: Path, words: list[str], cwd: Path, mark: str) -> Iterator[bool]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with subprocess.Popen(words, stdin=subprocess.PIPE, cwd=cwd, env=environment | {VARIABLE: mark}) as process:
        left = processes_left(MARK, tmp_path / "run", within=0)
        kill(left)
        process.kill()
        yield from (one.pid == process.pid for one in left)


@pytest.mark.parametrize("how", ["mark", "words", "directory", "none"])
def test_what_a_run_leaves(tmp_path: Path, elsewhere: Path, how: str) -> None:
    inside = tmp_path / "run" / "test"
    inside.mkdir(parents=True)
    words = [*WAIT, f"{inside}/script" if how == "words" else f"{tmp_path}/running"]
    found = left_by(tmp_path, words, inside if how == "directory" else elsewhere, MARK if how == "mark" else "another")
    assert list(found) == ([] if how == "none" else [True])


def test_a_database_server_is_found_while_it_runs(tmp_path: Path) -> None:
    def is_left() -> bool:
        return any(str(server.directory) in one.words for one in processes_left(mark_this_run(), tmp_path, within=0))

    with running_server() as server:
        assert is_left()
    assert not is_left()
    assert not server.directory.exists()
