"""A job of several attempts over HTTP: each log readable, and one stream that tells all of them."""

import asyncio
import random
from hashlib import sha256
from typing import Any

import httpx
import pytest

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.times import utc_now
from ci_common.wire.live.transitions import TransitionView
from tests.helpers.http import Seen, events_of, read_stream
from tests.helpers.played_api import Api
from tests.helpers.waiting import eventually

LOGS = (b"one\ntw\xe2\x82", "zwölf\n".encode(), b"three\n")
"""Of three attempts; the first ends in the middle of a character."""


async def submitted(api: Api, max_attempts: int = 3) -> str:
    return await api.submit(retry={"max_attempts": max_attempts}, command=None, steps=[{"name": "a", "run": "x"}])


async def played(api: Api) -> str:
    """Return a job that has failed twice and then succeeded, with LOGS."""
    job_id = await submitted(api)
    for number, log in enumerate(LOGS, start=1):
        await api.controller.start(job_id)
        api.controller.write(job_id, log)
        if number < len(LOGS):
            step = StepResult("a", StepStatus.FAILED, utc_now(), 0, number, utc_now())
            await api.controller.begin_anew(job_id, number, (step,))
        else:
            step = StepResult("a", StepStatus.SUCCEEDED, utc_now(), 0, 0, utc_now())
            await api.controller.finish(job_id, steps=(step,))
    return job_id


def logs_of(events: list[dict[str, Any]]) -> list[bytes]:
    """Return the logs that a stream brought, one for each attempt it told of."""
    logs, seen = [], Seen()
    for event in events:
        if event["type"] == "attempt":
            logs.append(seen.exact)
            seen = Seen()
        seen.take(event)
    return [*logs, seen.exact]


async def test_the_stream_tells_all_attempts_in_their_order(api: Api) -> None:
    job_id = await played(api)
    seen = await read_stream(api.client, f"/jobs/{job_id}/stream?from_beginning=true")
    assert seen.types == [
        "step", "log", "step", "attempt",
        "step", "log", "step", "attempt",
        "step", "log", "step", "complete",
    ]  # fmt: skip
    assert logs_of(seen.events) == list(LOGS)
    first, second = (event for event in seen.events if event["type"] == "attempt")
    assert first == {
        "type": "attempt", "attempt": 2, "max_attempts": 3,
        "previous": {
            "attempt": 1, "conclusion": "failed", "reason": {"code": "exit_code", "message": "exit code 1"},
            "exit_code": 1, "log_bytes": len(LOGS[0]), "log_sha256": sha256(LOGS[0]).hexdigest(),
        },
    }  # fmt: skip
    assert (second["attempt"], second["previous"]["exit_code"]) == (3, 2)
    assert seen.events[-1]["log_sha256"] == sha256(LOGS[2]).hexdigest()
    assert seen.last_id == f"3-{len(LOGS[2])}"
    assert [event["exit_code"] for event in seen.events if event["type"] == "step"] == [None, 1, None, 2, None, 0]


async def ids_of(client: httpx.AsyncClient, path: str) -> list[str]:
    async with client.stream("GET", path) as response:
        return [line[4:] async for line in response.aiter_lines() if line.startswith("id: ")]


async def test_a_reader_that_returns_with_any_id_gets_the_rest_and_nothing_twice(api: Api) -> None:
    job_id = await played(api)
    path = f"/jobs/{job_id}/stream?from_beginning=true"
    whole = await read_stream(api.client, path)
    with_ids = [event for event in whole.events if event["type"] in ("log", "attempt", "complete")]
    ids = await ids_of(api.client, path)
    assert [identifier.partition("-")[0] for identifier in ids if "-" in identifier] == ["2", "2", "3", "3", "3"]
    for number, identifier in enumerate(ids[:-2]):
        rest = await read_stream(api.client, path, Seen(last_id=identifier))
        assert [event for event in rest.events if event["type"] in ("log", "attempt", "complete")] == (
            with_ids[number + 1 :]
        ), identifier
    for final in ids[-2:]:
        assert (await api.client.get(path, headers={"Last-Event-ID": final})).status_code == 204
    end_of_the_first = await read_stream(api.client, path, Seen(last_id=str(len(LOGS[0]))))
    assert end_of_the_first.types[0] == "step"
    assert logs_of(end_of_the_first.events) == [b"", LOGS[1], LOGS[2]]


async def test_what_is_new_and_the_tail_are_of_the_present_attempt(api: Api) -> None:
    job_id = await played(api)
    path = f"/jobs/{job_id}/stream"
    assert (await read_stream(api.client, path)).types == ["step", "complete"]
    assert (await read_stream(api.client, f"{path}?tail=9")).exact == LOGS[2]
    assert (await read_stream(api.client, f"{path}?since=2020-01-01T00:00:00Z")).exact == LOGS[2]


async def test_a_reader_that_was_away_while_the_attempt_changed(api: Api) -> None:
    job_id = await submitted(api)
    await api.controller.start(job_id)
    api.controller.write(job_id, b"seen\n")
    path = f"/jobs/{job_id}/stream?from_beginning=true"
    seen = Seen()
    async with api.client.stream("GET", path) as response:
        async for event in events_of(response, seen):
            if event["type"] == "log":
                break
    assert seen.last_id == "5"
    api.controller.write(job_id, b"unseen\n")
    await api.controller.begin_anew(job_id, 7)
    await api.controller.start(job_id)
    api.controller.write(job_id, b"again\n")
    reading = asyncio.create_task(read_stream(api.client, path, seen))
    await eventually(lambda: seen.last_id == "2-6")
    await api.controller.finish(job_id)
    await reading
    assert logs_of(seen.events) == [b"seen\nunseen\n", b"again\n"]
    assert seen.types.count("attempt") == 1


async def test_a_reader_that_stays_is_told_of_every_turn(api: Api) -> None:
    job_id = await submitted(api, 2)
    seen = Seen()
    reading = asyncio.create_task(read_stream(api.client, f"/jobs/{job_id}/stream", seen))
    await api.controller.start(job_id)
    api.controller.write(job_id, b"first")
    await api.controller.begin_anew(job_id, 7)
    await eventually(
        lambda: (seen.events[-1].get("reason") or {}).get("code") == "backing_off" if seen.events else None
    )
    await api.controller.start(job_id)
    api.controller.write(job_id, b"second")
    await api.controller.finish(job_id)
    await reading
    assert logs_of(seen.events) == [b"first", b"second"]
    turn = seen.types.index("attempt")
    before, after = seen.events[:turn], seen.events[turn:]
    assert [event["status"] for event in before if event["type"] == "status"][-1] in ("queued", "running")
    assert next(event["status"] for event in after if event["type"] == "status") == "queued"


async def test_readers_that_are_cut_all_the_time_hold_every_byte_of_every_attempt(api: Api) -> None:
    job_id = await submitted(api, 4)
    path = f"/jobs/{job_id}/stream?from_beginning=true"
    chance = random.Random(5)
    readers = [Seen() for _ in range(5)]

    async def read_and_leave(seen: Seen) -> None:
        while not seen.completed:
            headers = {"Last-Event-ID": seen.last_id} if seen.last_id else {}
            limit = chance.randint(1, 4)
            async with api.client.stream("GET", path, headers=headers) as response:
                if response.status_code == 204:
                    return
                async for _ in events_of(response, seen):
                    limit -= 1
                    if limit == 0:
                        break

    reading = [asyncio.create_task(read_and_leave(seen)) for seen in readers]
    expected = []
    for attempt in range(1, 5):
        await api.controller.start(job_id)
        pieces = [chance.choice(LOGS) for _ in range(12)]
        for piece in pieces:
            api.controller.write(job_id, piece)
            await asyncio.sleep(chance.random() / 100)
        expected.append(b"".join(pieces))
        await (api.controller.begin_anew(job_id, attempt) if attempt < 4 else api.controller.finish(job_id))
    await asyncio.gather(*reading)
    for seen in readers:
        assert logs_of(seen.events) == expected


async def test_ids_that_are_none(api: Api) -> None:
    job_id = await played(api)
    for identifier, message in (("4-0", "has not come further than 3"), ("1-", "send the last one back"), ("0-3", "")):
        answer = await api.client.get(f"/jobs/{job_id}/stream", headers={"Last-Event-ID": identifier})
        assert answer.status_code == 400
        assert message in answer.json()["detail"]
        assert [error["path"] for error in answer.json()["errors"]] == ["last-event-id"]


async def test_the_log_of_each_attempt(api: Api) -> None:
    job_id = await played(api)
    path = f"/jobs/{job_id}/log"
    for number, log in enumerate(LOGS, start=1):
        answer = await api.client.get(path, params={"attempt": number})
        assert (answer.status_code, answer.content) == (200, log)
        assert answer.headers["etag"] == f'"{sha256(log).hexdigest()}"'
    assert (await api.client.get(path)).content == LOGS[2]
    part = await api.client.get(path, params={"attempt": 1}, headers={"range": "bytes=4-5"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"tw", f"bytes 4-5/{len(LOGS[0])}")
    unknown = await api.client.get(path, params={"attempt": 4})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "attempt_not_found")
    assert unknown.json()["detail"] == f"job {job_id} has no attempt 4, only 1 to 3"
    for wrong in ("0", "x", "-1"):
        assert (await api.client.get(path, params={"attempt": wrong})).status_code == 400


async def test_the_job_shows_its_attempts(api: Api) -> None:
    job_id = await submitted(api)
    await api.controller.start(job_id)
    api.controller.write(job_id, b"log\n")
    step = StepResult("a", StepStatus.FAILED, utc_now(), 0, 7, utc_now())
    await api.controller.begin_anew(job_id, 7, (step,))
    job = (await api.client.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["attempt"], job["max_attempts"]) == ("queued", 2, 3)
    assert job["not_before"] is not None
    assert (job["start_time"], job["log_bytes"], job["exit_code"], job["steps"]) == (None, None, None, [])
    (first,) = job["attempts"]
    assert {"attempt": 1, "conclusion": "failed", "exit_code": 7, "runtime": "process", "log_bytes": 4}.items() <= (
        first.items()
    )
    assert first["steps"][0]["exit_code"] == 7
    assert first["reason"]["code"] == "exit_code"
    assert first["start_time"] <= first["end_time"]


@pytest.mark.parametrize(
    ("retry", "path"),
    [
        ({"max_attempts": 0}, "retry.max_attempts"),
        ({"max_attempts": 101}, "retry.max_attempts"),
        ({"on": ["cancelled"]}, "retry.on.0"),
        ({"on": ["succeeded", "failed"]}, "retry.on.0"),
        ({"on": []}, "retry.on"),
        ({"backoff": 0}, "retry.backoff"),
        ({"max_backoff": "8d"}, "retry.max_backoff"),
        ({"times": 3}, "retry.times"),
    ],
)
async def test_policies_that_are_refused(api: Api, retry: dict[str, Any], path: str) -> None:
    answer = await api.client.post("/jobs", json={"image": "busybox", "command": "true", "retry": retry})
    assert answer.status_code == 400
    assert path in [error["path"] for error in answer.json()["errors"]]


async def test_a_policy_comes_with_the_job_and_with_what_repeats_it(api: Api) -> None:
    job_id = await api.submit(retry={"max_attempts": 3, "on": "errored", "backoff": "10s"})
    job = await api.controller.storage.jobs.get(job_id)
    assert job.max_attempts == 3
    assert job.plan is not None
    assert job.plan["retry"] == {"max_attempts": 3, "on": ["errored"], "backoff": 10.0, "max_backoff": 300.0}
    await api.controller.cancel(job_id)
    again = (await api.client.post(f"/jobs/{job_id}/retry")).json()
    assert (again["attempt"], again["max_attempts"], again["retry_of"]) == (1, 3, job_id)
    assert (await api.client.get(f"/jobs/{await api.submit()}")).json()["max_attempts"] == 1


async def test_the_changes_of_a_job_are_told_attempt_by_attempt(api: Api) -> None:
    job_id = await played(api)
    told = (await api.client.get(f"/jobs/{job_id}/events")).json()
    for each in told:
        TransitionView.model_validate(each)
    assert [(each["attempt"], each["event"], each["conclusion"], each["exit_code"]) for each in told] == [
        *[(1, "queued", None, None), (1, "running", None, None), (1, "ended", "failed", 1)],
        *[(2, "queued", None, None), (2, "running", None, None), (2, "ended", "failed", 2)],
        *[(3, "queued", None, None), (3, "running", None, None), (3, "ended", "succeeded", 0)],
    ]
    assert told[2]["reason"] == {"code": "exit_code", "message": "exit code 1"}
    assert [each["time"] for each in told] == sorted(each["time"] for each in told)
    waiting = await api.submit()
    await api.client.post(f"/jobs/{waiting}/cancel")
    told = (await api.client.get(f"/jobs/{waiting}/events")).json()
    assert [each["event"] for each in told] == ["queued", "cancel_requested"]
    assert told[0]["reason"]["code"] == "waiting_for_controller"
