"""What the end of a key means for the streams that it has begun, whichever process has ended it."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from time import monotonic

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from ci_common.access.keys import Key, id_in, new_secret
from ci_common.times import utc_now
from ci_persistence.stores.access.keys import KeyStore, Rotation
from ci_server.access import open_keys
from tests.helpers.http import Seen, read_stream
from tests.helpers.keys import a_key, bearing, stored_key
from tests.helpers.played_api import Api
from tests.helpers.service import problem
from tests.helpers.waiting import eventually

SOON = 2.0
"""Seconds within which a stream ends, by what is promised."""


async def running_job(api: Api, key: str) -> str:
    answer = await api.client.post("/jobs", json={"image": "busybox", "command": "true"}, headers=bearing(key))
    job_id = str(answer.json()["job_id"])
    await api.controller.start(job_id)
    api.controller.write(job_id, b"so far\n")
    return job_id


async def following(api: Api, job_id: str, key: str) -> tuple["asyncio.Task[Seen]", Seen]:
    """Follow a job with a key, and return what is seen of it once its log has come."""
    seen = Seen()
    path = f"/jobs/{job_id}/stream?from_beginning=true"
    task = asyncio.create_task(read_stream(api.client, path, seen, headers=bearing(key)))
    await eventually(lambda: "log" in seen.types, "the log has come")
    return task, seen


async def test_a_key_that_is_revoked_elsewhere_ends_its_streams(api: Api) -> None:
    """The store is used as another server process would, so this server hears nothing of it."""
    key, other = await stored_key(api.controller.storage), await stored_key(api.controller.storage)
    job_id = await running_job(api, key)
    ended, _ = await following(api, job_id, key)
    goes_on, _ = await following(api, job_id, other)
    await api.controller.storage.keys.revoke(id_in(key) or "", utc_now())
    begun = monotonic()
    seen = await asyncio.wait_for(ended, 30)
    assert monotonic() - begun < SOON
    assert seen.types[-1] == "refused"
    assert seen.events[-1]["code"] == "key_invalid"
    assert "has been revoked" in seen.events[-1]["message"]
    assert "ci login" in seen.events[-1]["message"]
    assert not goes_on.done()
    await api.controller.finish(job_id)
    assert (await asyncio.wait_for(goes_on, 30)).types[-1] == "complete"


async def test_a_key_that_is_revoked_here_ends_them_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_keys, "WATCH_SECONDS", 3600.0)
    admin, key = await stored_key(api.controller.storage), await stored_key(api.controller.storage)
    job_id = await running_job(api, admin)
    ended, _ = await following(api, job_id, key)
    assert (await api.client.delete(f"/keys/{id_in(key)}", headers=bearing(admin))).status_code == 204
    assert (await asyncio.wait_for(ended, 30)).types[-1] == "refused"
    refused = await api.client.get(f"/jobs/{job_id}/stream", headers=bearing(key))
    assert problem(refused, 401)["code"] == "key_invalid"


async def test_a_key_that_expires_ends_its_streams(api: Api) -> None:
    key = await stored_key(api.controller.storage, expires=utc_now() + timedelta(seconds=2))
    job_id = await running_job(api, key)
    ended, _ = await following(api, job_id, key)
    seen = await asyncio.wait_for(ended, 30)
    assert "has expired" in seen.events[-1]["message"]


async def test_a_secret_that_is_replaced_ends_its_streams_once_the_overlap_is_over(api: Api) -> None:
    key, text = a_key()
    keys = api.controller.storage.keys
    await keys.add(key)
    job_id = await running_job(api, text)
    before, seen = await following(api, job_id, text)
    new = new_secret(key.id)
    await keys.rotate(key.id, Rotation(new.digest, utc_now(), timedelta(seconds=6)))

    async def is_known() -> bool:
        return (await api.client.get("/jobs", headers=bearing(new.key))).status_code == 200

    await eventually(is_known, "the new secret is accepted here too")
    after, _ = await following(api, job_id, new.key)
    assert seen.types[-1] != "refused", "both are accepted for a while"
    await asyncio.wait_for(before, 30)
    assert "has been replaced" in seen.events[-1]["message"]
    assert not after.done()
    after.cancel()


async def test_a_database_that_cannot_be_read_ends_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_keys, "WATCH_SECONDS", 0.01)
    key = await stored_key(api.controller.storage)
    job_id = await running_job(api, key)
    failures = 0
    get_many = KeyStore.get_many

    async def failing(_store: KeyStore, _key_ids: object) -> dict[str, Key]:
        nonlocal failures
        failures += 1
        raise OSError("the disk is gone")

    monkeypatch.setattr(KeyStore, "get_many", failing)
    task, seen = await following(api, job_id, key)
    await eventually(lambda: failures > 3, "the keys are asked for")
    assert not task.done()
    monkeypatch.setattr(KeyStore, "get_many", get_many)
    await api.controller.storage.keys.revoke(id_in(key) or "", utc_now())
    assert (await asyncio.wait_for(task, 30)).types[-1] == "refused"
    assert seen.types.count("refused") == 1


async def test_a_stream_that_opens_while_the_database_is_asked_goes_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_keys, "WATCH_SECONDS", 0.01)
    first, second = await stored_key(api.controller.storage), await stored_key(api.controller.storage)
    asking, answering = asyncio.Event(), asyncio.Event()
    get_many = KeyStore.get_many
    rounds = 0

    async def slow(store: KeyStore, key_ids: Iterable[str]) -> dict[str, Key]:
        nonlocal rounds
        rounds += 1
        found = await get_many(store, key_ids)
        asking.set()
        await answering.wait()
        return found

    monkeypatch.setattr(KeyStore, "get_many", slow)
    job_id = await running_job(api, first)
    before, _ = await following(api, job_id, first)
    await asyncio.wait_for(asking.wait(), 30)
    after, seen = await following(api, job_id, second)
    answering.set()
    await eventually(lambda: rounds > 1, "the answer has been read")
    await api.controller.finish(job_id)
    for each in (before, after):
        assert (await asyncio.wait_for(each, 30)).types[-1] == "complete", seen.types


async def test_nothing_is_asked_while_no_stream_is_open(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_keys, "WATCH_SECONDS", 0.01)
    key = await stored_key(api.controller.storage)
    job_id = await running_job(api, key)
    task, _ = await following(api, job_id, key)
    await api.controller.finish(job_id)
    await asyncio.wait_for(task, 30)

    def is_watching() -> bool:
        return any(each.get_name() == "keys of open streams" for each in asyncio.all_tasks())

    await eventually(lambda: not is_watching(), "the watch ends with the last stream")


async def test_the_library_says_what_to_do(api: Api) -> None:
    key = await stored_key(api.controller.storage)
    job_id = await running_job(api, key)

    async def follow_and_revoke() -> None:
        async with CiClient(api.url, key=key) as client:
            async for event in client.stream(job_id):
                if event["type"] == "log":
                    await api.controller.storage.keys.revoke(id_in(key) or "", utc_now())

    with pytest.raises(ServerError, match=r"has been revoked; .*ci login") as refusal:
        await follow_and_revoke()
    assert (refusal.value.status, refusal.value.code) == (401, "key_invalid")
