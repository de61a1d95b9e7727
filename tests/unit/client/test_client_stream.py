"""The stream over broken connections: every byte once, whatever happens in between."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_client import stream as stream_module
from ci_client.aio import CiClient
from ci_client.client import stream_job, submit_tests_streaming
from ci_client.errors import AnswerNotUnderstood, LogMismatch, ServerError, ServerUnreachable, StreamLost
from ci_client.events import log_bytes_of
from ci_common.wire.stream import Event
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer, running_server, wait_until

pytestmark = pytest.mark.slow

LOG = (
    "zwölf Boxkämpfer 🥊 jagen\n".encode() * 3
    + b"\xff\xfe latin \xe9\x00 end\r\n"
    + "äöü\u2028\x85".encode() * 20
    + b"x"
)
STEPS = [
    (0, {"name": "install", "status": "running"}),
    (58, {"name": "install", "status": "succeeded", "exit_code": 0}),
    (58, {"name": "test", "status": "running"}),
    (len(LOG), {"name": "test", "status": "succeeded", "exit_code": 0}),
]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(stream_module, "_LONGEST_PAUSE", 0.02)


async def collect(server_url: str, job_id: str, **kwargs: object) -> list[Event]:
    async with CiClient(server_url) as client:
        return [event async for event in client.stream(job_id, **kwargs)]  # type: ignore[arg-type]


def joined(events: list[Event]) -> bytes:
    return b"".join(log_bytes_of(event) for event in events if event["type"] == "log")


def without_logs(events: list[Event]) -> list[Event]:
    return [event for event in events if event["type"] != "log"]


async def test_whole_stream_has_exact_bytes_and_offsets(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, chunk=7, steps=STEPS))
    events = await collect(server.url, job.job_id)
    assert joined(events) == LOG
    assert events[-1]["type"] == "complete"
    assert events[-1]["log_sha256"] == hashlib.sha256(LOG).hexdigest()
    offsets = [event["offset"] for event in events if event["type"] == "log"]
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == len(LOG)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.tuples(st.integers(0, 1500), st.booleans()), max_size=8),
    chunk=st.sampled_from([4, 7, 64, 1000]),
    final_204=st.booleans(),
    one_name=st.booleans(),
)
async def test_cuts_at_any_byte_lose_and_double_nothing(
    server: ScriptedServer, cuts: list[tuple[int, bool]], chunk: int, final_204: bool, one_name: bool
) -> None:
    told = [(offset, step | {"name": "step"} if one_name else step) for offset, step in STEPS]
    job = server.add(ScriptedJob(LOG, chunk=chunk, steps=told, cuts=cuts, final_204=final_204))
    events = await collect(server.url, job.job_id)
    assert joined(events) == LOG
    kinds = [event["type"] for event in without_logs(events)]
    assert kinds.count("complete") == 1
    assert kinds[-1] == "complete"
    steps = [event for event in events if event["type"] == "step"]
    assert steps == [{"type": "step", **step} for _, step in told]


async def test_every_single_cut_in_an_event(server: ScriptedServer) -> None:
    short = "ä🥊z".encode()
    before, event, *_ = [frame for _, frame in ScriptedJob(short, chunk=6, statuses=[{"status": "running"}]).frames(0)]
    async with CiClient(server.url) as client:
        for cut in range(len(before), len(before + event) + 1):
            job = ScriptedJob(short, chunk=6, statuses=[{"status": "running"}], cuts=[(cut, cut % 2 == 0)])
            server.add(job)
            events = [event async for event in client.stream(job.job_id)]
            assert joined(events) == short, f"cut after {cut} bytes"


async def test_resumes_with_the_offset_of_the_last_event(server: ScriptedServer) -> None:
    job = ScriptedJob(b"0123456789" * 10, chunk=10)
    frames = [frame for _, frame in job.frames(0)]
    job.cuts = [(sum(map(len, frames[:5])), False)]
    server.add(job)
    await collect(server.url, job.job_id)
    assert job.seen_ids == [None, "30"]


async def test_a_reader_at_the_end_gets_complete_from_the_job(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, conclusion="failed", exit_code=3))
    events = await collect(server.url, job.job_id, from_beginning=False)
    assert [(e["type"], e["conclusion"], e["exit_code"]) for e in events] == [("complete", "failed", 3)]


async def test_only_what_is_new_survives_a_cut_before_the_first_byte(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, hold_at=50, chunk=10, cuts=[(10, False)]))
    async with CiClient(server.url) as client:
        events = client.stream(job.job_id, from_beginning=False)
        seen = [await anext(events)]
        job.release()
        seen += [event async for event in events]
    assert joined(seen) == LOG[50:]


async def test_a_restarted_server_is_found_again() -> None:
    with running_server() as own:
        job = own.add(ScriptedJob(LOG, chunk=20, hold_at=100))
        async with CiClient(own.url) as client:
            events = client.stream(job.job_id)
            seen = []
            async for event in events:
                seen.append(event)
                if event["type"] == "log" and event["offset"] >= 100:
                    break
            own.stop()
            job.release()
            own.start()
            seen += [event async for event in events]
    assert joined(seen) == LOG
    assert len([event for event in seen if event["type"] == "status"]) <= 4


async def test_gives_up_after_the_time_allowed() -> None:
    with running_server() as own:
        job = own.add(ScriptedJob(LOG, hold_at=100, chunk=10))
        told: list[str] = []
        async with CiClient(own.url, reconnect_seconds=0.2, on_break=told.append) as client:
            events = client.stream(job.job_id)
            await anext(events)
            own.stop()
            with pytest.raises(StreamLost, match=f"{job.job_id}.*the job goes on"):
                [event async for event in events]
            assert len(told) == 1


async def test_gives_up_on_a_server_that_never_brings_anything(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, cuts=[(0, True)] * 10_000))
    async with CiClient(server.url, reconnect_seconds=0.2) as client:
        with pytest.raises(StreamLost, match="it ended before the job did"):
            [event async for event in client.stream(job.job_id)]


async def test_silence_counts_as_a_broken_connection(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, chunk=50, hold_at=100))
    async with CiClient(server.url, idle_seconds=0.1) as client:
        seen = []
        async for event in client.stream(job.job_id):
            seen.append(event)
            if len(job.seen_ids) >= 1 and event["type"] == "log" and event["offset"] >= 100:
                wait_until(job.held.is_set)
                break
        rest = client.stream(job.job_id, last_id=seen[-1]["id"])
        async for event in rest:
            seen.append(event)
            if len(job.seen_ids) >= 3:
                job.release()
        assert joined(seen) == LOG
    assert len(job.seen_ids) >= 2


async def test_nobody_at_the_first_connection_is_told_at_once() -> None:
    with running_server() as own:
        url = own.url
    async with CiClient(url) as client:
        with pytest.raises(ServerUnreachable, match=url):
            [event async for event in client.stream("any")]


async def test_unknown_job(server: ScriptedServer) -> None:
    async with CiClient(server.url) as client:
        with pytest.raises(ServerError) as raised:
            [event async for event in client.stream("no/such?job")]
    assert (raised.value.status, raised.value.code) == (404, "http_404")


async def test_a_log_that_its_job_has_damaged_ends_with_the_jobs_own_reason(server: ScriptedServer) -> None:
    reason = {"code": "log_damaged", "message": "the job has truncated its log"}
    job = server.add(ScriptedJob(LOG, sha256="0" * 64, conclusion="errored", reason=reason))
    events = await collect(server.url, job.job_id)
    assert (events[-1]["type"], events[-1]["reason"]) == ("complete", reason)


@pytest.mark.parametrize("from_beginning", [True, False])
async def test_changed_bytes_are_told(server: ScriptedServer, from_beginning: bool) -> None:
    job = server.add(ScriptedJob(LOG, sha256="0" * 64, hold_at=10, chunk=10))
    job.release()
    if from_beginning:
        with pytest.raises(LogMismatch, match="changed on its way"):
            await collect(server.url, job.job_id)
    else:
        assert (await collect(server.url, job.job_id, last_id="10"))[-1]["type"] == "complete"


async def test_missing_bytes_are_told(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    job = server.add(ScriptedJob(LOG, chunk=10))
    frames = list(job.frames(0))
    for missing in (5, len(frames) - 2):
        told = frames[:missing] + frames[missing + 1 :]
        monkeypatch.setattr(ScriptedJob, "frames", lambda self, offset, told=told: iter(told))
        with pytest.raises(LogMismatch, match=r"gap|were received"):
            await collect(server.url, job.job_id)


async def test_a_server_that_tells_all_again_is_no_matter(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = server.add(ScriptedJob(LOG, chunk=11, cuts=[(900, False), (1300, True)], final_204=False))
    frames = ScriptedJob.frames
    monkeypatch.setattr(ScriptedJob, "frames", lambda self, offset: frames(self, 0))
    assert joined(await collect(server.url, job.job_id)) == LOG
    # An offset in the middle of a character is taken as it is.
    assert joined(await collect(server.url, job.job_id, last_id="4")) == LOG[4:]


async def test_something_else_at_the_url(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    job = server.add(ScriptedJob(LOG))
    monkeypatch.setattr(ScriptedJob, "frames", lambda self, offset: iter([(0, b"data: hello\n\n")]))
    with pytest.raises(AnswerNotUnderstood, match="not JSON"):
        await collect(server.url, job.job_id)


def test_sync_face_streams_and_closes(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, chunk=10))
    assert joined(list(stream_job(job.job_id, server.url))) == LOG
    held = server.add(ScriptedJob(LOG, chunk=10, hold_at=20))
    events = stream_job(held.job_id, server.url)
    next(events)
    events.close()
    assert list(events) == []


def test_sync_face_raises_what_the_core_raises(server: ScriptedServer) -> None:
    with pytest.raises(ServerError, match="no job has this id"):
        list(stream_job("unknown", server.url))


def test_submit_tests_streaming(server: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    project = tmp_path_factory.mktemp("project")
    (project / "test_it.py").write_text("def test_it(): pass\n")
    server.next_job = ScriptedJob(LOG, chunk=10)
    events = list(submit_tests_streaming(project, server_url=server.url, spec={"image": "busybox"}))
    assert events[0] == {"type": "job_id", "job_id": server.next_job.job_id}
    assert joined(events) == LOG
    assert events[-1]["success"] is True
    assert server.specs == [{"image": "busybox"}]
