"""A job of several attempts as the client sees it: every log whole and checked, and people told what happens."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_client import stream as stream_module
from ci_client.aio import CiClient
from ci_client.errors import LogMismatch
from ci_client.events import log_bytes_of
from ci_common.wire.stream import Event
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.service import ci

EARLIER = [b"zw\xff\xc3\xb6lf\n" * 4, "zweiter 🥊\n".encode() * 2]
LAST = b"third\n" * 5
STEPS = [
    (0, {"name": "test", "status": "running"}),
    (len(LAST), {"name": "test", "status": "succeeded", "exit_code": 0}),
]
Capture = pytest.CaptureFixture[bytes]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(stream_module, "_LONGEST_PAUSE", 0.02)


def retried(**more: object) -> ScriptedJob:
    return ScriptedJob(LAST, earlier=list(EARLIER), **{"chunk": 7, **more})  # type: ignore[arg-type]


async def collect(server: ScriptedServer, job: ScriptedJob, **kwargs: object) -> list[Event]:
    async with CiClient(server.url) as client:
        return [event async for event in client.stream(job.job_id, **kwargs)]  # type: ignore[arg-type]


def logs_of(events: list[Event]) -> list[bytes]:
    logs = [b""]
    for event in events:
        if event["type"] == "attempt":
            logs.append(b"")
        elif event["type"] == "log":
            logs[-1] += log_bytes_of(event)
    return logs


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.tuples(st.integers(0, 2500), st.booleans()), max_size=8),
    chunk=st.sampled_from([4, 7, 1000]),
    final_204=st.booleans(),
)
async def test_cuts_at_any_byte_lose_and_double_nothing(
    server: ScriptedServer, cuts: list[tuple[int, bool]], chunk: int, final_204: bool
) -> None:
    job = server.add(retried(chunk=chunk, cuts=cuts, final_204=final_204, steps=STEPS))
    events = await collect(server, job)
    assert logs_of(events) == [*EARLIER, LAST]
    assert [event["attempt"] for event in events if event["type"] == "attempt"] == [2, 3]
    assert [event["status"] for event in events if event["type"] == "step"] == ["running", "succeeded"]
    assert [event["type"] for event in events].count("complete") == 1


async def test_every_id_leads_back(server: ScriptedServer) -> None:
    job = server.add(retried())
    events = await collect(server, job)
    placed = [event for event in events if "id" in event]
    for number, event in enumerate(placed):
        rest = await collect(server, job, last_id=event["id"])
        assert [event for event in rest if "id" in event] == placed[number + 1 :]


async def test_only_what_is_new_is_of_the_present_attempt(server: ScriptedServer) -> None:
    job = server.add(retried(hold_at=6, cuts=[(10, False)]))
    async with CiClient(server.url) as client:
        events = client.stream(job.job_id, from_beginning=False)
        seen = [await anext(events)]
        job.release()
        seen += [event async for event in events]
    assert logs_of(seen) == [LAST[6:]]
    assert job.seen_ids == ["3-6", "3-6"]


async def test_every_attempts_log_is_checked(server: ScriptedServer) -> None:
    job = server.add(retried(earlier_sha256="0" * 64))
    with pytest.raises(LogMismatch, match="changed on its way"):
        await collect(server, job)
    job = server.add(retried(sha256="0" * 64))
    with pytest.raises(LogMismatch, match="attempt 3, was changed on its way"):
        await collect(server, job)


async def test_a_server_that_tells_all_again_is_no_matter(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = server.add(retried(final_204=False))
    told = [frame for _, frame in job.all_frames(stream_module.BEGINNING)]
    turns = [number for number, frame in enumerate(told) if b'"type": "attempt"' in frame]
    job.cuts = [(sum(map(len, told[: turn + 3])), False) for turn in turns]
    all_frames = ScriptedJob.all_frames
    monkeypatch.setattr(ScriptedJob, "all_frames", lambda self, start: all_frames(self, stream_module.BEGINNING))
    events = await collect(server, job)
    assert logs_of(events) == [*EARLIER, LAST]
    assert [str(identifier)[:2] for identifier in job.seen_ids] == ["No", "2-", "3-"]


@pytest.mark.parametrize("missing", ["log", "attempt"])
async def test_what_is_missing_is_told(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    job = server.add(retried())
    told = list(job.all_frames(stream_module.BEGINNING))
    first = next(number for number, (_, frame) in enumerate(told) if f'"type": "{missing}"'.encode() in frame)
    without = told[:first] + told[first + 1 :]
    monkeypatch.setattr(ScriptedJob, "all_frames", lambda self, start: iter(without))
    with pytest.raises(LogMismatch, match=r"gap|skips"):
        await collect(server, job)


def test_people_are_told_of_every_attempt(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(retried(conclusion="failed", exit_code=4, runtime="process"))
    assert ci(server, "wait", "--all", job.job_id) == 4, "the exit status is the last attempt's"
    out, err = capfdbinary.readouterr()
    assert out == b"".join([*EARLIER, LAST])
    lines = err.decode().splitlines()
    told = [f"ci: attempt {n} of 3 failed with exit code 9; attempt {n + 1} follows" for n in (1, 2)]
    assert [line for line in lines if "follows" in line] == told
    assert sum("not isolated" in line for line in lines) == 1
    assert any("failed: exit code 4, attempt 3 of 3" in line for line in lines)


def test_logs_of_one_attempt(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(retried())
    for number, log in enumerate([*EARLIER, LAST], start=1):
        assert ci(server, "logs", "--attempt", str(number), job.job_id) == 0
        assert capfdbinary.readouterr().out == log
        assert ci(server, "logs", "--json", "--attempt", str(number), job.job_id) == 0
        events = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        assert logs_of(events) == [log]
        assert ci(server, "logs", "--follow", "--attempt", str(number), job.job_id) == 0
        assert capfdbinary.readouterr().out == b"".join([*EARLIER, LAST][number - 1 :])
    assert ci(server, "logs", job.job_id) == 0
    assert capfdbinary.readouterr().out == LAST
    assert ci(server, "logs", "--json", job.job_id) == 0
    assert logs_of([json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]) == [LAST]


def test_list_and_status_show_the_attempt(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(retried())
    server.add(ScriptedJob(b""))
    assert ci(server, "list") == 0
    rows = capfdbinary.readouterr().out.decode().splitlines()[1:]
    assert [row.split()[1:3] for row in rows if job.job_id in row] == [["succeeded", "3/3"]]
    assert "1/1" not in "".join(rows)
    assert ci(server, "status", job.job_id) == 0
    shown = [" ".join(line.split()) for line in capfdbinary.readouterr().out.decode().splitlines()]
    assert "attempt: 3 of 3" in shown
    assert f"attempt 2: failed, exit code 9, 2.0 s, log {len(EARLIER[1])} bytes" in shown


def test_how_often_to_try_arrives(server: ScriptedServer, capfdbinary: Capture) -> None:
    assert ci(server, "exec", "busybox", "--retries", "2", "--detach", "--", "true") == 0
    assert server.specs[-1]["retry"] == {"max_attempts": 3}
    assert ci(server, "exec", "busybox", "--retries", "0", "--detach", "--", "true") == 0
    assert server.specs[-1]["retry"] == {"max_attempts": 1}
    assert ci(server, "exec", "busybox", "--retries", "100", "--", "true") == 64
    assert ci(server, "logs", "--attempt", "0", "0123abcd") == 64
