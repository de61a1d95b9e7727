"""Quotas of streams and uploads over HTTP: refused where there are too many, and free again at the end of each."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem
from tests.helpers.waiting import eventually

SPEC = {"spec": '{"project": "website"}'}


async def used(api: Api, quota: str) -> int:
    answer = await api.client.get("/projects/website")
    return int(answer.json()["quotas"][quota]["used"])


async def limited(api: Api, **quotas: int) -> None:
    answer = await api.client.post("/projects", json={"name": "website", "quotas": quotas})
    assert answer.status_code == 201, answer.text


async def refused(api: Api, method: str, path: str, **content: Any) -> dict[str, Any]:
    answer = await api.client.request(method, path, **content)
    told = problem(answer, 429)
    assert told["code"] == "quota_exceeded"
    assert int(answer.headers["retry-after"]) > 0
    return told


async def test_streams_beyond_the_quota_are_refused_until_another_one_ends(api: Api) -> None:
    await limited(api, streams=2)
    job_id = await api.submit(project="website")
    path = f"/jobs/{job_id}/stream"
    async with AsyncExitStack() as stack:
        for each in (path, "/events?project=website"):
            answer = await stack.enter_async_context(api.client.stream("GET", each))
            assert answer.status_code == 200
        assert await used(api, "streams") == 2
        for each in (path, "/events?project=website"):
            told = await refused(api, "GET", each)
            assert (told["quota"], told["quota_of"], told["limit"], told["used"]) == ("streams", "project", 2, 2)
        assert (await api.client.head(path)).status_code == 429
        other = await stack.enter_async_context(api.client.stream("GET", "/events"))
        assert other.status_code == 200, "of no project"

    async def is_free() -> bool:
        return await used(api, "streams") == 0

    await eventually(is_free, "the places of streams that were cut are free")
    assert (await api.client.head(path)).status_code == 200
    await eventually(is_free, "an answer without a body has no place")


async def test_a_submission_whose_stream_is_refused_makes_no_job(api: Api) -> None:
    await limited(api, streams=0)
    form = {"files": {"file": ("p.zip", zipped(ci__yaml="command: 'true'"))}, "data": SPEC}
    assert (await refused(api, "POST", "/submit", **form))["quota"] == "streams"
    assert (await api.client.get("/jobs")).json() == []
    assert api.left_over() == []
    assert (await api.client.post("/submit-async", **form)).status_code == 202


async def test_the_stream_of_a_new_job_counts_once(api: Api) -> None:
    await limited(api, streams=1)
    form = {"files": {"file": ("p.zip", zipped(ci__yaml="command: 'true'"))}, "data": SPEC}
    async with api.client.stream("POST", "/submit", **form) as answer:
        assert answer.status_code == 200
        assert await used(api, "streams") == 1


@pytest.mark.parametrize("of", ["owner", "project"])
async def test_uploads_beyond_the_quota_are_refused_before_their_body_is_read(start_api: StartApi, of: str) -> None:
    api = await start_api(**{"quota_owner_uploads" if of == "owner" else "quota_uploads": "1"})
    await limited(api)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> Any:
        yield b"x"
        arrived.set()
        await go_on.wait()

    head = {"Content-Type": "application/zstd"}
    path = "/uploads?project=website"
    first = asyncio.create_task(api.client.post(path, content=body(), headers=head))

    async def is_counted() -> bool:
        return await used(api, "uploads") == 1

    await arrived.wait()
    await eventually(is_counted, "the upload has its place")
    told = await refused(api, "POST", path, content=b"x", headers=head)
    assert (told["quota"], told["quota_of"], told["used"]) == ("uploads", of, 1)
    go_on.set()
    assert problem(await first, 400)["code"] == "invalid_upload"
    assert problem(await api.client.post(path, content=b"x", headers=head), 400)["code"] == "invalid_upload"


async def test_a_form_counts_for_the_project_that_its_spec_names(api: Api) -> None:
    await limited(api, uploads=0)
    form = {"files": {"file": ("p.zip", zipped(ci__yaml="command: 'true'"))}}
    assert (await refused(api, "POST", "/submit-async", **form, data=SPEC))["quota"] == "uploads"
    assert api.left_over() == []
    assert (await api.client.post("/submit-async", **form)).status_code == 202
