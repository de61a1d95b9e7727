"""What a reader at some position in a job's stream gets next."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_server.streaming.event_source import EventSource, Next, Position
from tests.helpers.jobs import NOON

LOG = b"one\ntwo\n"
STEPS = (
    StepResult("a", StepStatus.SUCCEEDED, NOON, 0, exit_code=0, end_time=NOON),
    StepResult("b", StepStatus.SUCCEEDED, NOON, 4, exit_code=0, end_time=NOON),
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.log.write_bytes(LOG)
    return run


def told(frames: bytes) -> list[Any]:
    events = [json.loads(line[6:]) for line in frames.split(b"\n") if line.startswith(b"data: ")]
    return [event.get("data") or event.get("name") or event["type"] for event in events]


def test_the_end_of_a_job_comes_in_one_batch(run: RunDirectory) -> None:
    job = Job(
        id="job",
        type="container",
        state=State.COMPLETED,
        conclusion=Conclusion.SUCCEEDED,
        submit_time=NOON,
        start_time=NOON,
        end_time=NOON,
        log_bytes=len(LOG),
        steps=STEPS,
    )
    batch = EventSource(lambda: job, lambda _: run).next(Position(1, 0))
    assert batch.next is Next.END
    assert told(batch.frames) == ["a", "one\n", "a", "b", "two\n", "b", "complete"]
