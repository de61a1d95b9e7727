"""The mark that closes a log."""

from pathlib import Path

import pytest

from ci_common.run_directory.closing import close_log, forget_closing, shown_bytes
from ci_common.run_directory.layout import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.log.write_bytes(b"four")
    return run


def test_what_comes_after_it_is_not_shown(run: RunDirectory) -> None:
    assert shown_bytes(run, 4) == 4
    close_log(run)
    run.log.write_bytes(b"four and more")
    close_log(run)
    assert (shown_bytes(run, 3), shown_bytes(run, 13)) == (3, 4)


def test_one_that_a_crash_of_the_machine_has_emptied_shows_nothing(run: RunDirectory) -> None:
    run.closed.touch()
    assert shown_bytes(run, 4) == 0


@pytest.mark.parametrize(("length", "stays"), [(4, False), (3, True)])
def test_it_stays_where_the_log_has_more_than_is_known(run: RunDirectory, length: int, stays: bool) -> None:
    close_log(run)
    forget_closing(run, length)
    assert run.closed.exists() is stays
    assert {path.name for path in run.path.parent.iterdir()} <= {"1", "1.closed"}
