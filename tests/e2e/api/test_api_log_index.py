"""`GET /jobs/{id}/log/index` and `GET /jobs/{id}/log/times`."""

from datetime import timedelta
from typing import Any

import pytest

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.run_directory.output import LogTimes
from ci_common.times import to_rfc3339, utc_now
from ci_server.jobs import index_endpoints
from tests.helpers.played_api import Api

STEPS = [{"name": "build", "run": "true"}, {"name": "test", "run": "true"}, {"name": "report", "run": "true"}]


async def index(api: Api, job_id: str, query: str = "", **headers: str) -> dict[str, Any]:
    answer = await api.client.get(f"/jobs/{job_id}/log/index{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def lines(first: int, last: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, last + 1))


async def test_a_view_opens_a_running_log_at_a_line_and_asks_on_from_there(api: Api) -> None:
    job_id = await api.submit()
    empty = await index(api, job_id)
    assert (empty["lines"], empty["offsets"], empty["complete"]) == (0, [], False)
    await api.controller.start(job_id)
    api.controller.write(job_id, lines(1, 2_345) + b"half a li")
    found = await index(api, job_id)
    log = (await api.client.get(f"/jobs/{job_id}/log")).content
    assert (found["lines"], found["log_bytes"], found["indexed_bytes"]) == (2_346, len(log), len(log))
    assert [log[offset:].split(b"\n")[0] for offset in found["offsets"]] == [b"line 1", b"line 1001", b"line 2001"]
    api.controller.write(job_id, b"ne\n" + lines(2_347, 4_000))
    more = await index(api, job_id, f"?from_line={1 + found['every'] * len(found['offsets'])}")
    log = (await api.client.get(f"/jobs/{job_id}/log")).content
    assert (more["lines"], more["first_line"], more["complete"]) == (4_000, 3_001, False)
    assert [log[offset:].split(b"\n")[0] for offset in more["offsets"]] == [b"line 3001"]
    await api.controller.finish(job_id)
    assert (await index(api, job_id))["complete"] is True
    sparse = await index(api, job_id, "?every=2000&from_line=2")
    assert (sparse["first_line"], sparse["offsets"]) == (2_001, [log.index(b"line 2001")])
    behind = await index(api, job_id, "?from_line=1000000")
    assert (behind["first_line"], behind["offsets"]) == (1_000_001, [])


async def test_steps_have_their_places_while_they_run_and_afterwards(api: Api) -> None:
    job_id = await api.submit(command=None, steps=STEPS)
    run = await api.controller.start(job_id)
    build, test = lines(1, 1_500), b"no line end"
    api.controller.write(job_id, build + test)
    records = ('"start","uptime":"100.5","offset":"0"', '"end","uptime":"102.0","code":0')
    begun = f'"start","uptime":"102.0","offset":"{len(build)}"'
    run.steps.write_text(
        "".join(f'{{"step":0,"event":{record}}}\n' for record in records) + f'{{"step":1,"event":{begun}}}\n'
    )
    places = ("name", "seconds", "log_offset", "end_offset", "start_line", "end_line")
    found = (await index(api, job_id))["steps"]
    assert [[step[place] for place in places] for step in found] == [
        ["build", 1.5, 0, len(build), 1, 1_500],
        ["test", None, len(build), None, 1_501, 1_501],
    ]
    now = utc_now()
    size = len(build) + len(test)
    steps = (
        StepResult("build", StepStatus.SUCCEEDED, now, 0, 0, now + timedelta(seconds=2)),
        StepResult("test", StepStatus.FAILED, now, len(build), 3, now),
        StepResult("report", StepStatus.SKIPPED, now, size, None, now, "a step before it failed"),
    )
    await api.controller.finish(job_id, 3, steps=steps)
    found = (await index(api, job_id))["steps"]
    assert [[step[place] for place in (*places, "exit_code")] for step in found] == [
        ["build", 2.0, 0, len(build), 1, 1_500, 0],
        ["test", 0.0, len(build), size, 1_501, 1_501, 3],
        ["report", 0.0, size, size, 1_501, None, None],
    ]


async def test_an_earlier_attempt_has_its_own_index_and_an_unchanged_one_is_not_sent_again(api: Api) -> None:
    job_id = await api.submit(retry={"max_attempts": 2})
    await api.controller.start(job_id)
    api.controller.write(job_id, b"first\n")
    await api.controller.begin_anew(job_id, 1)
    await api.controller.start(job_id)
    api.controller.write(job_id, b"1\n2\n")
    assert (await index(api, job_id, "?attempt=1"))["lines"] == 1
    path = f"/jobs/{job_id}/log/index"
    answer = await api.client.get(path)
    assert (answer.json()["attempt"], answer.json()["lines"]) == (2, 2)
    known = {"If-None-Match": answer.headers["etag"]}
    same = await api.client.get(path, headers=known)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", answer.headers["etag"])
    api.controller.write(job_id, b"3\n")
    assert (await api.client.get(path, headers=known)).json()["lines"] == 3
    missing = await api.client.get(f"{path}?attempt=3")
    assert (missing.status_code, missing.json()["code"]) == (404, "attempt_not_found")


async def test_what_cannot_be_asked_is_refused_by_name(api: Api) -> None:
    job_id = await api.submit()
    for query, name in (("every=1500", "every"), ("every=999", "every"), ("from_line=0", "from_line"), ("x=1", "x")):
        answer = await api.client.get(f"/jobs/{job_id}/log/index?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, name)


async def test_an_index_of_very_many_lines_comes_in_parts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_endpoints, "MOST_OFFSETS", 2)
    job_id = await api.submit()
    await api.controller.start(job_id)
    api.controller.write(job_id, b"\n" * 4_500)
    await api.controller.finish(job_id)
    assert (await index(api, job_id))["offsets"] == [0, 1_000]
    assert (await index(api, job_id, "?from_line=4001"))["offsets"] == [4_000]


async def test_the_times_of_bytes_come_in_parts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_endpoints, "MOST_TIMES", 2)
    job_id = await api.submit()
    run = await api.controller.start(job_id)
    now, times = utc_now(), LogTimes(run.times)
    instants = [now + timedelta(seconds=second) for second in range(3)]
    for instant in instants:
        api.controller.write(job_id, b"line\n")
        times.append(instant, run.log_size())

    async def told(query: str) -> tuple[int, list[tuple[int, str]]]:
        answer = (await api.client.get(f"/jobs/{job_id}/log/times{query}")).json()
        return answer["end"], [(each["offset"], each["time"]) for each in answer["times"]]

    first, second, third = map(to_rfc3339, instants)
    assert await told("") == (10, [(0, first), (5, second)])
    assert await told("?start=10") == (15, [(10, third)])
    assert await told("?start=6&end=9&attempt=1") == (9, [(5, second)])
    assert await told("?start=15") == (15, [])
    missing = await api.client.get(f"/jobs/{job_id}/log/times?attempt=2")
    assert (missing.status_code, missing.json()["code"]) == (404, "attempt_not_found")
