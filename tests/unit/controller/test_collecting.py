"""What an attempt has left in its run directory."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.output import LogTimes
from ci_controller.execution.files import note_end_of_log

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = datetime(2026, 1, 1, 11, tzinfo=UTC)
ENDED = Job(
    id="j",
    type="container",
    submit_time=EARLIER,
    start_time=EARLIER,
    end_time=NOON,
    state=State.COMPLETED,
    conclusion=Conclusion.SUCCEEDED,
    log_bytes=10,
)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path)
    data.job("j").mkdir(parents=True)
    return data


def test_the_end_of_a_log_that_nobody_has_noted_was_there_when_the_job_ended(data: DataDirectory) -> None:
    times = LogTimes(data.run("j", 1).times)
    times.append(EARLIER, 4)
    for _ in range(2):
        note_end_of_log(ENDED, data)
        assert (times.time_of(3), times.time_of(4), times.time_of(9)) == (EARLIER, NOON, NOON)
        assert times.offset_at(NOON + timedelta(seconds=1)) == 10


def test_what_has_been_noted_stays(data: DataDirectory) -> None:
    times = LogTimes(data.run("j", 1).times)
    times.append(EARLIER, 10)
    note_end_of_log(ENDED, data)
    assert times.time_of(9) == EARLIER


def test_a_full_disk_keeps_nothing_from_its_end(data: DataDirectory, caplog: pytest.LogCaptureFixture) -> None:
    data.run("j", 1).times.symlink_to("/dev/full")
    note_end_of_log(ENDED, data)
    assert "when the end of the log of job j was written cannot be noted" in caplog.text
