"""The stream of a job over HTTP: every byte once, for every reader, at any time, however often cut."""

import asyncio
import hashlib
import random
from datetime import timedelta

import pytest

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.jobs import Reason, ReasonCode, State
from ci_common.run_directory.output import LogTimes
from ci_common.times import to_rfc3339, utc_now
from tests.helpers.http import Seen, events_of, read_stream
from tests.helpers.played_api import Api, zipped
from tests.helpers.waiting import PATIENCE, eventually

NASTY = [
    b"line\n",
    b"\0\r\n",
    b"\xe4\xf6\xfc\n",
    "ä€😀\u2028".encode(),
    b"\xe2\x82",
    b"x" * 70_000 + b"\n",
    b"no newline",
]


async def test_a_job_from_queued_to_its_verdict(api: Api) -> None:
    job_id = await api.submit(steps=[{"run": "x", "name": "one"}, {"run": "y", "name": "two"}], command=None)
    seen = Seen()
    async with api.client.stream("GET", f"/jobs/{job_id}/stream?from_beginning=true") as response:
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        events = events_of(response, seen)
        assert (await anext(events))["reason"]["code"] == "waiting_for_controller"
        await api.controller.update(job_id, reason=Reason(ReasonCode.WAITING_FOR_SLOT, "4 jobs run"))
        assert (await anext(events)) == {
            "type": "status", "status": "queued", "reason": {"code": "waiting_for_slot", "message": "4 jobs run"},
        }  # fmt: skip
        run = await api.controller.start(job_id)
        while (event := await anext(events))["status"] != "running":
            assert event["type"] == "status"
        with run.steps.open("a") as steps:
            steps.write('{"step":0,"event":"start","uptime":"100","offset":"0"}\n')
        assert await anext(events) == {"type": "step", "name": "one", "status": "running", "exit_code": None}
        api.controller.write(job_id, b"partial")
        log = await anext(events)
        assert (log["type"], log["data"], seen.last_id) == ("log", "partial", "7")
        api.controller.write(job_id, b" line\nmore")
        with run.steps.open("a") as steps:
            steps.write('{"step":0,"event":"end","code":0,"uptime":"101","offset":"17"}\n')
            steps.write('{"step":1,"event":"start","uptime":"101","offset":"17"}\n')
        while (await anext(events)).get("name") != "two":
            pass
        started = utc_now()
        await api.controller.finish(
            job_id, 3, steps=(StepResult("one", StepStatus.SUCCEEDED, started, 0, 0, started),
                              StepResult("two", StepStatus.FAILED, started, 17, 3, started)),
        )  # fmt: skip
        rest = [event async for event in events]
    assert rest[0] == {"type": "step", "name": "two", "status": "failed", "exit_code": 3}
    assert rest[1] == {
        "type": "complete", "success": False, "conclusion": "failed", "reason": None, "exit_code": 3,
        "log_bytes": 17, "log_sha256": hashlib.sha256(b"partial line\nmore").hexdigest(),
    }  # fmt: skip
    assert seen.text == "partial line\nmore"
    steps_seen = [(event["name"], event["status"]) for event in seen.events if event["type"] == "step"]
    assert steps_seen == [("one", "running"), ("one", "succeeded"), ("two", "running"), ("two", "failed")]


async def test_submitting_and_following(api: Api) -> None:
    archive = zipped(test_a__py="")
    for path, first in (("/submit", "status"), ("/submit-stream", "job_id")):
        seen = Seen()
        form = {"file": ("p.zip", archive)}
        async with api.client.stream("POST", path, files=form) as response:
            events = events_of(response, seen)
            event = await anext(events)
            assert event["type"] == first
            job_id = response.headers["location"].removeprefix("/jobs/")
            assert event.get("job_id", job_id) == job_id
            await api.controller.start(job_id)
            api.controller.write(job_id, b"log\n")
            await api.controller.finish(job_id)
            async for _ in events:
                pass
        assert seen.text == "log\n"
        assert seen.events[-1]["success"] is True


async def test_what_a_completed_job_streams(api: Api) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    api.controller.write(job_id, b"one\ntwo\nthree\n")
    await api.controller.finish(job_id)
    path = f"/jobs/{job_id}/stream"
    assert (await read_stream(api.client, path)).types == ["complete"]
    assert (await read_stream(api.client, f"{path}?from_beginning=false")).types == ["complete"]
    whole = await read_stream(api.client, f"{path}?from_beginning=true")
    assert (whole.types, whole.text) == (["log", "complete"], "one\ntwo\nthree\n")
    assert (await read_stream(api.client, f"{path}?tail=2")).text == "two\nthree\n"
    assert (await read_stream(api.client, f"{path}?tail=0")).types == ["complete"]
    assert (await api.client.get(path, headers={"Last-Event-ID": whole.last_id})).status_code == 204
    resumed = await read_stream(api.client, f"{path}?from_beginning=true", Seen(last_id="4"))
    assert resumed.text == "two\nthree\n"
    assert whole.last_id == "14"


async def test_only_what_is_new(api: Api) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    api.controller.write(job_id, b"old\n\xe2\x82")
    seen = Seen()
    async with api.client.stream("GET", f"/jobs/{job_id}/stream") as response:
        events = events_of(response, seen)
        assert (await anext(events))["status"] == "running"
        api.controller.write(job_id, b"\xacnew\n")
        await api.controller.finish(job_id)
        async for _ in events:
            pass
    assert seen.exact == b"\xe2\x82\xacnew\n"


async def test_since(api: Api) -> None:
    job_id = await api.submit()
    run = await api.controller.start(job_id)
    begin = utc_now()
    times = LogTimes(run.times)
    for second, line in enumerate((b"first\n", b"second\n", b"third\n")):
        api.controller.write(job_id, line)
        times.append(begin + timedelta(seconds=second), run.log_size())
    await api.controller.finish(job_id)
    for seconds, expected in ((-9, "first\nsecond\nthird\n"), (0.5, "second\nthird\n"), (9, "")):
        query = {"since": to_rfc3339(begin + timedelta(seconds=seconds))}
        seen = Seen()
        async with api.client.stream("GET", f"/jobs/{job_id}/stream", params=query) as response:
            async for _ in events_of(response, seen):
                pass
        assert seen.text == expected
    whole = await read_stream(api.client, f"/jobs/{job_id}/stream?tail=1")
    assert whole.events[0]["time"] == to_rfc3339(begin + timedelta(seconds=2))


async def test_requests_for_streams_that_are_not_valid(api: Api) -> None:
    job_id = await api.submit()
    for query, path in (
        ("from_beginning=perhaps", "from_beginning"),
        ("tail=-1", "tail"),
        ("tail=x", "tail"),
        ("since=now", "since"),
        ("tail=1&from_beginning=true", "tail"),
        ("tail=1&since=2025-01-01T00:00:00Z", "since"),
    ):
        answer = await api.client.get(f"/jobs/{job_id}/stream?{query}")
        assert answer.status_code == 400
        assert [error["path"] for error in answer.json()["errors"]] == [path]
    for identifier in ("x", "-1", "1.5", "9" * 30):
        answer = await api.client.get(f"/jobs/{job_id}/stream", headers={"Last-Event-ID": identifier})
        assert answer.status_code == 400


async def test_all_readers_hold_the_same_bytes(api: Api) -> None:
    """Fifty that never leave, one that comes late, and one that is cut after every few events."""
    job_id = await api.submit()
    path = f"/jobs/{job_id}/stream?from_beginning=true"
    steady = [asyncio.create_task(read_stream(api.client, path)) for _ in range(50)]
    await api.controller.start(job_id)
    chance = random.Random(3)
    cut, cuts = Seen(), 0

    async def read_and_leave() -> None:
        nonlocal cuts
        while not cut.completed:
            headers = {"Last-Event-ID": cut.last_id} if cut.last_id else {}
            limit = chance.randint(1, 3) if cuts < 10 else 10**9
            cuts += 1
            async with api.client.stream("GET", path, headers=headers) as response:
                async for _ in events_of(response, cut):
                    limit -= 1
                    if limit == 0:
                        break

    cutting = asyncio.create_task(read_and_leave())
    expected = b""
    for _ in range(60):
        piece = chance.choice(NASTY)
        middle = chance.randint(0, len(piece))
        api.controller.write(job_id, piece[:middle])
        await asyncio.sleep(0)
        api.controller.write(job_id, piece[middle:])
        expected += piece
        if cuts < 10 and piece.endswith(b"\n"):  # Nothing else is sure to be shown before more comes.
            size = len(expected)
            await eventually(lambda size=size: len(cut.exact) == size)
    job = await api.controller.finish(job_id)
    late = await read_stream(api.client, path)
    readers = [*await asyncio.gather(*steady), late, cut]
    await cutting
    assert cuts > 10
    for reader in readers:
        assert reader.exact == expected
        assert reader.completed
    assert hashlib.sha256(cut.exact).hexdigest() == job.log_sha256
    assert late.text == expected.decode(errors="replace")
    assert (await api.client.get(f"/jobs/{job_id}/log")).content == expected


async def test_a_stream_of_a_job_that_is_cancelled_before_it_runs(api: Api) -> None:
    job_id = await api.submit()
    reading = asyncio.create_task(read_stream(api.client, f"/jobs/{job_id}/stream"))
    await api.client.post(f"/jobs/{job_id}/cancel")
    await api.controller.cancel(job_id)
    seen = await reading
    assert seen.events[-1]["conclusion"] == "cancelled"
    assert seen.events[-1]["log_bytes"] == 0


async def test_a_log_that_vanishes_or_shrinks_hangs_nobody(api: Api) -> None:
    for spoil in (lambda log: log.unlink(), lambda log: log.write_bytes(b"x"), lambda log: (log.unlink(), log.mkdir())):
        job_id = await api.submit()
        run = await api.controller.start(job_id)
        api.controller.write(job_id, b"some text\n")
        seen = Seen()
        async with api.client.stream("GET", f"/jobs/{job_id}/stream?from_beginning=true") as response:
            events = events_of(response, seen)
            while not seen.text:
                await anext(events)
            spoil(run.log)
            await api.controller.update(
                job_id, state=State.COMPLETED, conclusion="succeeded", exit_code=0, end_time=utc_now(), log_bytes=10
            )
            async for _ in events:
                pass
        assert seen.completed
        assert (await api.client.get(f"/jobs/{job_id}/log")).status_code == 200
        assert (await api.client.get(f"/jobs/{job_id}?include=log")).status_code == 200


@pytest.mark.parametrize("noted", ["4", "2"])
async def test_what_is_appended_to_a_closed_log_reaches_nobody(api: Api, noted: str) -> None:
    """Nor does a reader get anything twice that had more than the mark says, which is the least that will be shown."""
    job_id = await api.submit()
    run = await api.controller.start(job_id)
    api.controller.write(job_id, b"one\n")
    path, early, late = f"/jobs/{job_id}/stream?from_beginning=true", Seen(), Seen()
    async with (
        api.client.stream("GET", path) as first,
        asyncio.timeout(PATIENCE),
    ):
        events = events_of(first, early)
        while not early.text:
            await anext(events)
        run.closed.write_text(noted)
        api.controller.write(job_id, b"more\n")
        shown = b"one\n"[: int(noted)]
        assert (await api.client.get(f"/jobs/{job_id}/log")).content == shown
        job = (await api.client.get(f"/jobs/{job_id}?include=log")).json()
        assert (job["log"].encode(), job["log_bytes"]) == (shown, len(shown))
        async with api.client.stream("GET", path) as second:
            following = events_of(second, late)
            while not late.exact:
                await anext(following)
            await api.controller.finish(job_id, log_bytes=4, log_sha256=hashlib.sha256(b"one\n").hexdigest())
            for rest in (events, following):
                async for _ in rest:
                    pass
    assert (early.exact, late.exact, early.completed, late.completed) == (b"one\n", b"one\n", True, True)


async def test_the_log_in_ranges(api: Api) -> None:
    job_id = await api.submit()
    path = f"/jobs/{job_id}/log"
    assert (await api.client.get(path)).content == b""
    await api.controller.start(job_id)
    api.controller.write(job_id, b"0123456789")
    live = await api.client.get(path, headers={"range": "bytes=2-4"})
    assert (live.status_code, live.content, live.headers["content-range"]) == (206, b"234", "bytes 2-4/*")
    beyond = await api.client.get(path, headers={"range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")
    job = await api.controller.finish(job_id)
    whole = await api.client.get(path)
    assert (whole.content, whole.headers["accept-ranges"]) == (b"0123456789", "bytes")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["etag"] == f'"{job.log_sha256}"'
    end = await api.client.get(path, headers={"range": "bytes=-3", "if-range": whole.headers["etag"]})
    assert (end.status_code, end.content, end.headers["content-range"]) == (206, b"789", "bytes 7-9/10")
    several = await api.client.get(path, headers={"range": "bytes=0-1,3-4"})
    changed = await api.client.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert (several.status_code, changed.status_code, changed.content) == (200, 200, b"0123456789")


async def test_an_id_behind_the_end_of_the_log_goes_on_at_its_end(api: Api) -> None:
    """Also where the job has truncated its log; what other readers are told does not depend on it."""
    job_id = await api.submit()
    await api.controller.start(job_id)
    api.controller.write(job_id, b"one\n")
    far, near = Seen(last_id="100000"), Seen()
    path = f"/jobs/{job_id}/stream?from_beginning=true"
    async with api.client.stream("GET", path, headers={"Last-Event-ID": far.last_id}) as response:
        events = events_of(response, far)
        await anext(events)
        reading = asyncio.create_task(read_stream(api.client, path, near))
        await eventually(lambda: near.text == "one\n")
        api.controller.write(job_id, b"two\n")
        await eventually(lambda: near.text == "one\ntwo\n")
        await api.controller.finish(job_id)
        async for _ in events:
            pass
        await reading
    assert (far.text, far.completed, near.completed) == ("two\n", True, True)
