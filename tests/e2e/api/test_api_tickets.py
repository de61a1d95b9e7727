"""Tickets for the stream of one job."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from ci_common.access.keys import Key, id_in
from ci_common.times import utc_now
from ci_persistence.stores.access.keys import KeyStore
from ci_server.access import open_keys, stream_tickets
from tests.helpers.http import read_stream
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api
from tests.helpers.waiting import eventually


async def ended_job(api: Api, key: str) -> str:
    answer = await api.client.post("/jobs", json={"image": "busybox", "command": "true"}, headers=bearing(key))
    job_id = str(answer.json()["job_id"])
    await api.controller.start(job_id)
    api.controller.write(job_id, b"one\n")
    await api.controller.finish(job_id)
    return job_id


async def ticket_for(api: Api, job_id: str, key: str) -> str:
    answer = await api.client.post(f"/jobs/{job_id}/ticket", headers=bearing(key))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    return str(answer.json()["ticket"])


async def stream(api: Api, job_id: str, **query: Any) -> Any:
    return await api.client.get(f"/jobs/{job_id}/stream", params={"from_beginning": "true", **query})


@pytest.fixture
async def key(api: Api) -> str:
    return await stored_key(api.controller.storage, name="alice")


async def test_a_ticket_opens_the_stream_of_its_job(api: Api, key: str) -> None:
    job_id = await ended_job(api, key)
    assert (await stream(api, job_id)).status_code == 401
    ticket = await ticket_for(api, job_id, key)
    for _ in range(2):  # As an EventSource does that was cut off.
        answer = await stream(api, job_id, ticket=ticket)
        assert (answer.status_code, '"one\\n"' in answer.text) == (200, True)


async def test_the_stream_of_a_running_job_goes_on(api: Api, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_keys, "WATCH_SECONDS", 0.01)
    answer = await api.client.post("/jobs", json={"image": "busybox", "command": "true"}, headers=bearing(key))
    job_id = str(answer.json()["job_id"])
    await api.controller.start(job_id)
    api.controller.write(job_id, b"one\n")
    asked = 0
    get_many = KeyStore.get_many

    async def counted(store: KeyStore, key_ids: Any) -> dict[str, Key]:
        nonlocal asked
        asked += 1
        return await get_many(store, key_ids)

    monkeypatch.setattr(KeyStore, "get_many", counted)
    path = f"/jobs/{job_id}/stream?ticket={await ticket_for(api, job_id, key)}"
    reading = asyncio.create_task(read_stream(api.client, path))
    await eventually(lambda: asked > 2, "the key is looked at")
    await api.controller.finish(job_id)
    assert (await asyncio.wait_for(reading, 30)).types[-1] == "complete"


async def test_it_opens_nothing_else(api: Api, key: str) -> None:
    job_id, other = await ended_job(api, key), await ended_job(api, key)
    ticket = await ticket_for(api, job_id, key)
    assert (await stream(api, other, ticket=ticket)).status_code == 401
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/log", "/jobs", "/keys/own"):
        assert (await api.client.get(path, params={"ticket": ticket})).status_code == 401
    assert (await api.client.post(f"/jobs/{job_id}/ticket", params={"ticket": ticket})).status_code == 401
    assert (await api.client.get("/jobs", headers=bearing(ticket))).status_code == 401


@pytest.mark.parametrize("ticket", ["", "x", "é", "====", "djEueC54", "a" * 1999, "%00"])
async def test_what_is_no_ticket(api: Api, key: str, ticket: str) -> None:
    job_id = await ended_job(api, key)
    answer = await stream(api, job_id, ticket=ticket)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")


async def test_it_ends(api: Api, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await ended_job(api, key)
    ticket = await ticket_for(api, job_id, key)
    later = utc_now() + timedelta(seconds=stream_tickets.SECONDS)
    monkeypatch.setattr(stream_tickets, "utc_now", lambda: later)
    answer = await stream(api, job_id, ticket=ticket)
    assert (answer.status_code, "expired" in answer.json()["detail"]) == (401, True)


async def test_it_ends_with_its_key(api: Api, key: str) -> None:
    job_id = await ended_job(api, key)
    ticket = await ticket_for(api, job_id, key)
    admin = await stored_key(api.controller.storage, name="admin")
    assert (await api.client.delete(f"/keys/{id_in(key)}", headers=bearing(admin))).is_success
    assert (await stream(api, job_id, ticket=ticket)).status_code == 401


async def test_who_does_not_see_the_job_gets_none(api: Api, key: str) -> None:
    job_id = await ended_job(api, key)
    stranger = await stored_key(api.controller.storage, name="bob", projects=frozenset({"other"}))
    answer = await api.client.post(f"/jobs/{job_id}/ticket", headers=bearing(stranger))
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_it_is_in_no_log(api: Api, key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    job_id = await ended_job(api, key)
    ticket = await ticket_for(api, job_id, key)
    await stream(api, job_id, ticket=ticket)
    await stream(api, job_id, ticket=ticket, tail=1)  # Refused, since it is given with another beginning.
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ci_"))
    assert f"GET /jobs/{job_id}/stream 200" in said
    assert ticket not in said


async def test_without_keys_it_is_checked_all_the_same(api: Api) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    answer = await api.client.post(f"/jobs/{job_id}/ticket")
    assert (await stream(api, job_id, ticket=answer.json()["ticket"])).status_code == 200
    assert (await stream(api, job_id, ticket="x")).status_code == 401
