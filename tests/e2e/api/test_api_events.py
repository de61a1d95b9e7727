"""`GET /events`: the changes of jobs as a stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import TypeAdapter

from ci_common.access.identity import Role
from ci_common.access.keys import id_in
from ci_common.times import utc_now
from ci_common.wire.live.feed import FeedEvent
from ci_server.streaming import job_feed
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api
from tests.helpers.waiting import PATIENCE, eventually

EVENTS: TypeAdapter[Any] = TypeAdapter(FeedEvent)


class Page:
    """A list that stays open: the events it has got, and where it would go on."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.last_id = ""
        self.is_over = False

    async def read(self, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            if line.startswith("id: "):
                self.last_id = line[4:]
            if line.startswith("data: "):
                event = json.loads(line[6:])
                EVENTS.validate_python(event)
                self.events.append(event)
        self.is_over = True

    @property
    def told(self) -> list[tuple[str, str]]:
        """What was told of jobs: their ids, and their last changes."""
        jobs = [event for event in self.events if event["type"] in ("job", "deleted")]
        return [(e["job"]["job_id"], e["event"]) if "job" in e else (e["job_id"], "deleted") for e in jobs]

    async def until(self, *told: tuple[str, str]) -> None:
        await eventually(lambda: set(told) <= set(self.told), f"{told}")


@asynccontextmanager
async def page(api: Api, query: str = "", last_id: str = "", key: str = "") -> AsyncIterator[Page]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    opened = Page()
    async with api.client.stream(
        "GET", f"/events{query}", headers={**headers, **bearing(key)} if key else headers
    ) as r:
        assert (r.status_code, r.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        reading = asyncio.create_task(opened.read(r.aiter_lines()))
        try:
            await eventually(lambda: opened.last_id, "the first event")
            yield opened
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def test_a_page_sees_every_change_in_the_short_form(api: Api) -> None:
    async with page(api) as opened:
        assert [event["type"] for event in opened.events] == ["begin"]
        job_id = await api.submit(project="p", labels={"a": "b"})
        await opened.until((job_id, "queued"))
        line = opened.events[-1]["job"]
        whole = (await api.client.get(f"/jobs/{job_id}")).json()
        assert line == {name: whole[name] for name in line}
        await api.controller.start(job_id)
        await opened.until((job_id, "running"))
        await api.client.post(f"/jobs/{job_id}/cancel")
        await opened.until((job_id, "cancel_requested"))
        await api.controller.finish(job_id)
        await opened.until((job_id, "completed"))
        assert opened.events[-1]["job"]["conclusion"] == "succeeded"
        await api.client.delete(f"/jobs/{job_id}")
        await opened.until((job_id, "deleted"))


async def test_a_page_goes_on_where_it_was(api: Api) -> None:
    async with page(api) as opened:
        first = await api.submit()
        await opened.until((first, "queued"))
    second = await api.submit()
    await api.controller.start(first)
    async with page(api, last_id=opened.last_id) as again:
        third = await api.submit()
        await again.until((second, "queued"), (first, "running"), (third, "queued"))
        assert len(again.told) == 3
        assert [event["type"] for event in again.events] == ["job"] * 3


async def test_a_page_is_told_to_read_its_list_again_where_it_cannot_go_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.submit()
    async with page(api) as opened:
        known = opened.last_id
    async with page(api, last_id=f"{known}1") as opened:
        assert [event["type"] for event in opened.events] == ["reset"]
        await opened.until((await api.submit(), "queued"))
    monkeypatch.setattr(job_feed, "MOST_MISSED", 2)
    for _ in range(2):
        await api.submit()
    async with page(api, last_id=known) as opened:
        await eventually(lambda: opened.events, "the reset")
        assert [event["type"] for event in opened.events] == ["reset"]
        assert opened.last_id > known
    answer = await api.client.get("/events", headers={"Last-Event-ID": "7"})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "last-event-id")


async def test_a_page_is_told_of_what_it_may_see_and_asks_for(api: Api) -> None:
    storage = api.controller.storage
    admin = await stored_key(storage, name="root")
    own = await stored_key(storage, role=Role.VIEWER, projects=frozenset({"own"}))

    async def submit(**fields: Any) -> str:
        content = {"type": "echo", "payload": {}, **fields}
        answer = await api.client.post("/jobs", json=content, headers=bearing(admin))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async with page(api, key=own) as mine, page(api, "?project=other&label=a:b&type=echo", key=admin) as some:
        other, unlabelled = await submit(project="other", labels={"a": "b"}), await submit(project="other")
        visible = await submit(project="own")
        await submit()
        await mine.until((visible, "queued"))
        await some.until((other, "queued"))
        later = await submit(project="own"), await submit(project="other", labels={"a": "b", "c": "d"})
        await mine.until((later[0], "queued"))
        await some.until((later[1], "queued"))
        assert [job_id for job_id, _ in mine.told] == [visible, later[0]]
        assert [job_id for job_id, _ in some.told] == [other, later[1]]
        assert unlabelled not in str(some.events)
    async with page(api, last_id=some.last_id, key=own) as resumed:
        await eventually(lambda: resumed.last_id != some.last_id or not resumed.told)
        assert other not in str(resumed.events)


async def test_a_stream_ends_with_its_key(api: Api) -> None:
    key = await stored_key(api.controller.storage)
    async with page(api, key=key) as opened:
        await api.controller.storage.keys.revoke(id_in(key) or "", utc_now())
        await eventually(lambda: opened.is_over, "the end of the stream")
        assert opened.events[-1]["type"] == "refused"


async def test_a_stream_ends_after_a_while_so_that_rights_are_checked_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "PING_SECONDS", 0.01)
    async with page(api) as opened:
        monkeypatch.setattr(job_feed, "LONGEST_SECONDS", 0.0)
        await eventually(lambda: opened.is_over, "the end of the stream")
        assert [event["type"] for event in opened.events] == ["begin"]


async def test_streams_end_with_the_server(api: Api) -> None:
    async with page(api) as opened:
        api.serving.cancel()
        await eventually(lambda: opened.is_over, "the end of the stream")
    await asyncio.wait_for(asyncio.gather(api.serving, return_exceptions=True), PATIENCE)


async def test_what_is_not_a_filter_of_changes_is_refused(api: Api) -> None:
    for query, name in (("label=a", "label.0"), ("status=queued", "status")):
        answer = await api.client.get(f"/events?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, name)
    assert (await api.client.head("/events")).status_code == 200
