"""A submission that is answered with its job's stream."""

from contextlib import aclosing
from pathlib import Path

import pytest

from ci_client import stream as stream_module
from ci_client.aio import CiClient
from ci_client.errors import AnswerNotUnderstood, ServerError, SubmissionUncertain
from ci_client.events import log_bytes_of
from ci_common.wire.stream import Event
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer

LOG = "zwölf Boxkämpfer 🥊 jagen\n".encode() * 10


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FIRST_PAUSE", 0.001)


def joined(events: list[Event]) -> bytes:
    return b"".join(log_bytes_of(event) for event in events if event["type"] == "log")


async def test_a_submission_is_followed_on_its_own_connection(server: ScriptedServer, project: Path) -> None:
    server.next_job = ScriptedJob(LOG, chunk=10)
    async with CiClient(server.url) as client:
        events = [event async for event in client.submit_and_stream(project)]
    assert [event["type"] for event in events].count("job_id") == 1
    assert joined(events) == LOG
    assert server.next_job.seen_ids == [None], "no other connection was made"


@pytest.mark.parametrize("cut", [80, 200, 600])
async def test_a_submission_whose_stream_breaks_is_followed_on(server: ScriptedServer, project: Path, cut: int) -> None:
    """Behind the job's id, the connection may break wherever it likes."""
    server.next_job = ScriptedJob(LOG, chunk=10, cuts=[(cut, False)])
    async with CiClient(server.url) as client:
        events = [event async for event in client.submit_and_stream(project)]
    assert joined(events) == LOG
    assert events[-1]["type"] == "complete"
    assert len(server.next_job.seen_ids) == 2
    assert len(server.uploads) == 1


async def test_a_submission_whose_answer_is_lost_is_sent_again_with_its_key(
    server: ScriptedServer, project: Path
) -> None:
    server.next_job = ScriptedJob(LOG, cuts=[(20, False)])
    async with CiClient(server.url) as client:
        events = [event async for event in client.submit_and_stream(project)]
        assert joined(events) == LOG
        assert await client.create_job({"type": "echo"}) in server.jobs
    assert len(server.uploads) == 2
    once, again, other = server.keys
    assert once == again != other


async def test_a_submission_whose_answer_is_lost_again_and_again_is_uncertain(
    server: ScriptedServer, project: Path
) -> None:
    server.next_job = ScriptedJob(LOG, cuts=[(20, False)] * 3)
    async with CiClient(server.url) as client:
        with pytest.raises(SubmissionUncertain):
            await anext(client.submit_and_stream(project))
    assert len(server.uploads) == 3
    assert len(set(server.keys)) == 1


async def test_a_submission_that_is_answered_otherwise(server: ScriptedServer, project: Path) -> None:
    server.next_job = ScriptedJob(LOG, cuts=[(0, True)])
    server.refusals = [(400, {"code": "invalid_upload", "detail": "no zip"}, {})]
    async with CiClient(server.url) as client:
        with pytest.raises(ServerError, match="no zip"):
            await anext(client.submit_and_stream(project))
        with pytest.raises(AnswerNotUnderstood, match="without a job_id"):
            await anext(client.submit_and_stream(project))


async def test_a_quiet_stream_of_a_submission_counts_as_broken(server: ScriptedServer, project: Path) -> None:
    """As soon as that of any other job, however long the server may take to accept a submission."""
    job = server.next_job = ScriptedJob(LOG, chunk=10, hold_at=20)
    async with CiClient(server.url, idle_seconds=0.2) as client:
        events: list[Event] = []
        async with aclosing(client.submit_and_stream(project)) as stream:
            async for event in stream:
                events.append(event)
                if len(job.seen_ids) > 1:
                    job.release()
    assert joined(events) == LOG
    assert events[-1]["type"] == "complete"
