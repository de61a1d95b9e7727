"""Keys over HTTP: made, sent, rotated, revoked; and what a key cannot do."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ci_common.access.identity import Role, Scope
from ci_common.access.keys import id_in
from ci_common.times import utc_now
from ci_persistence.stores.access.keys import KeyStore
from ci_server.access import authentication
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem
from tests.helpers.waiting import eventually


@pytest.fixture
async def admin(api: Api) -> str:
    """The key that the client of the server sends."""
    key = await stored_key(api.controller.storage)
    api.client.headers.update(bearing(key))
    return key


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post("/keys", json={"name": "bob", "role": "developer", **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


async def status(api: Api, key: str, path: str = "/jobs") -> int:
    return (await api.client.get(path, headers=bearing(key))).status_code


async def test_without_keys_everyone_here_may_do_everything_but_make_the_first(api: Api) -> None:
    assert (await api.client.post("/jobs", json={"type": "echo"})).status_code == 202
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("GET", "/keys/own")):
        refused = problem(await api.client.request(method, path), 403)
        assert "ci keys create --admin" in refused["detail"]


async def test_from_the_first_key_on_every_request_needs_one_for_good(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "KNOWN_SECONDS", 0.0)
    assert (await api.client.get("/jobs")).status_code == 200
    key = await stored_key(api.controller.storage)
    missing = await api.client.get("/jobs")
    assert problem(missing, 401)["code"] == "key_missing"
    assert missing.headers["www-authenticate"] == 'Bearer realm="ci-server"'
    assert await status(api, key) == 200
    assert (await api.client.get("/health")).status_code == 200

    await api.controller.storage.keys.revoke(id_in(key) or "", utc_now())
    assert (await api.client.get("/jobs")).status_code == 401, "it does not open again"


@pytest.mark.parametrize(
    ("auth", "host", "without_keys"),
    [("required", "127.0.0.1", 401), ("insecure", "127.0.0.1", 200), ("auto", "127.0.0.1", 200)],
)
async def test_who_needs_a_key_is_a_setting(start_api: StartApi, auth: str, host: str, without_keys: int) -> None:
    api: Api = await start_api(auth=auth, host=host)
    assert (await api.client.get("/jobs")).status_code == without_keys
    if without_keys == 401:
        assert "ci keys create --admin" in (await api.client.get("/jobs")).json()["detail"]
    other: Api = await start_api("other", auth=auth, host=host)
    await stored_key(other.controller.storage)
    assert (await other.client.get("/jobs")).status_code == 401


async def test_a_key_is_shown_once(api: Api, admin: str) -> None:
    new = await made(api, projects=["website"], expires_in="90d")
    assert id_in(new["key"]) == new["id"]
    assert (new["role"], new["projects"], new["owner"], new["created_by"]) == ("developer", ["website"], "bob", "alice")
    listed = (await api.client.get("/keys")).json()
    assert {name: value for name, value in new.items() if name != "key"} in listed
    assert new["key"] not in (await api.client.get("/keys")).text
    assert (await api.client.get(f"/keys/{new['id']}")).json() in listed
    stored = await api.controller.storage.keys.get(new["id"])
    assert stored is not None
    assert new["key"] not in repr(stored)


async def test_jobs_belong_to_the_owner_and_the_project_of_the_key(api: Api, admin: str) -> None:
    key = (await made(api, projects=["website"]))["key"]
    job = (await api.client.post("/jobs", json={"type": "echo"}, headers=bearing(key))).json()
    assert job["project"] == "website"
    assert (await api.controller.storage.jobs.get(job["job_id"])).owner == "bob"
    for fields in ({"project": "other"}, {"payload": {}, "project": "website "}):
        refused = await api.client.post("/jobs", json={"type": "echo", **fields}, headers=bearing(key))
        assert problem(refused, 403)["code"] == "project_refused"
    several = (await made(api, projects=["a", "b"]))["key"]
    refused = await api.client.post("/jobs", json={"type": "echo"}, headers=bearing(several))
    assert "a, b" in problem(refused, 403)["detail"]
    assert (await api.client.get("/jobs", headers=bearing(several))).json() == []


async def test_the_project_of_a_ci_yaml_counts_as_well(api: Api, admin: str) -> None:
    key = (await made(api, projects=["website"]))["key"]
    archive = zipped(ci__yaml="command: 'true'\nproject: other")
    refused = await api.upload(archive, headers=bearing(key))
    assert problem(refused, 403)["code"] == "project_refused"
    assert api.left_over() == []
    accepted = await api.upload(zipped(ci__yaml="command: 'true'"), headers=bearing(key))
    assert (await api.controller.storage.jobs.get(accepted.json()["job_id"])).project == "website"


async def test_a_retry_does_not_move_a_job_to_another_project(api: Api, admin: str) -> None:
    key = (await made(api, projects=["website"]))["key"]
    job_id = await api.submit(project="website")
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    moved = await api.client.post(f"/jobs/{job_id}/retry", json={"project": "other"}, headers=bearing(key))
    assert problem(moved, 403)["code"] == "project_refused"
    assert (await api.client.post(f"/jobs/{job_id}/retry", headers=bearing(key))).json()["project"] == "website"


async def test_a_manifest_is_not_based_on_what_is_not_visible(api: Api, admin: str) -> None:
    accepted = await api.upload(zipped(ci__yaml="command: 'true'"), data={"spec": '{"project": "other"}'})
    key = (await made(api, projects=["website"]))["key"]
    query = {"base": accepted.json()["job_id"]}
    refused = await api.client.post("/uploads", params=query, content=b"", headers=bearing(key))
    assert refused.status_code in (400, 409)
    refused = await api.client.post("/uploads", params={"project": "other"}, content=b"", headers=bearing(key))
    assert problem(refused, 403)["code"] == "project_refused"


async def test_a_key_makes_no_key_that_may_do_more(api: Api, admin: str) -> None:
    limited = bearing((await made(api, role="admin", projects=["website"]))["key"])

    async def tried(**fields: Any) -> httpx.Response:
        return await api.client.post("/keys", json={"name": "x", "role": "viewer", **fields}, headers=limited)

    for fields, path in (({"projects": ["other"]}, "projects"), ({"owner": "alice"}, "owner")):
        assert problem(await tried(**fields), 400)["errors"][0]["path"] == path
    allowed = (await tried()).json()
    assert (allowed["projects"], allowed["owner"], allowed["scopes"][0]) == (["website"], "bob", "artifacts:read")
    by_scope = bearing((await made(api, role=None, scopes=["keys:admin", "jobs:read"]))["key"])
    refused = await api.client.post("/keys", json={"name": "x", "scopes": ["jobs:write"]}, headers=by_scope)
    assert "jobs:write" in problem(refused, 403)["detail"]
    everything = (await api.client.get("/keys")).json()
    seen = (await api.client.get("/keys", headers=by_scope)).json()
    assert len(seen) < len(everything)
    own = (await api.client.get("/keys/own", headers=by_scope)).json()["key"]["id"]
    for key in everything:
        if key["id"] == own:
            continue
        revoked = await api.client.delete(f"/keys/{key['id']}", headers=by_scope)
        assert revoked.status_code == (204 if key in seen else 404)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"role": "viewer"}, "name"),
        ({"name": "x", "role": "root"}, "role"),
        ({"name": "x", "scopes": ["jobs:everything"]}, "scopes.0"),
        ({"name": "x", "role": "viewer", "projects": []}, "projects"),
        ({"name": "x", "role": "viewer", "expires_in": "0"}, "expires_in"),
        ({"name": "x", "role": "viewer", "expires_in": "100000d"}, "expires_in"),
        ({"name": "x\n", "role": "viewer"}, "name"),
    ],
)
async def test_what_is_no_key_is_refused(api: Api, admin: str, body: dict[str, Any], path: str) -> None:
    refused = problem(await api.client.post("/keys", json=body), 400)
    assert refused["errors"][0]["path"] == path


async def test_a_key_has_a_role_or_scopes(api: Api, admin: str) -> None:
    for fields in ({}, {"role": "viewer", "scopes": ["jobs:read"]}):
        assert (
            "either a role or scopes"
            in problem(await api.client.post("/keys", json={"name": "x", **fields}), 400)["detail"]
        )


async def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(
    api: Api, admin: str, start_api: StartApi
) -> None:
    other: Api = await start_api()
    key = await made(api)
    assert [await status(each, key["key"]) for each in (api, other)] == [200, 200]
    for _ in range(2):
        assert (await api.client.delete(f"/keys/{key['id']}")).status_code == 204
    refused = await api.client.get("/jobs", headers=bearing(key["key"]))
    assert problem(refused, 401)["detail"] == "the key 'bob' has been revoked"
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]

    async def is_refused() -> bool:
        return await status(other, key["key"]) == 401

    await eventually(is_refused, "the other server asks the database again")
    assert problem(await api.client.post(f"/keys/{key['id']}/rotate"), 409)["code"] == "key_conflict"


async def test_a_rotation_keeps_the_secret_before_for_its_overlap(api: Api, admin: str) -> None:
    key = await made(api)
    rotated = (await api.client.post(f"/keys/{key['id']}/rotate", json={"overlap": "1h"})).json()
    assert rotated["id"] == key["id"]
    assert rotated["previous_until"] is not None
    assert [await status(api, each["key"]) for each in (key, rotated)] == [200, 200]
    refused = await api.client.post(f"/keys/{key['id']}/rotate")
    assert "overlap of 0" in problem(refused, 409)["detail"]
    last = (await api.client.post(f"/keys/{key['id']}/rotate", json={"overlap": 0})).json()
    assert [await status(api, each["key"]) for each in (key, rotated, last)] == [401, 401, 200]


async def test_a_key_rotates_itself_without_further_rights(api: Api, admin: str) -> None:
    key = await made(api, role=None, scopes=["jobs:read"])
    own = (await api.client.get("/keys/own", headers=bearing(key["key"]))).json()
    assert (own["name"], own["scopes"], own["key"]["id"]) == ("bob", ["jobs:read", "keys:own"], key["id"])
    rotated = (await api.client.post("/keys/own/rotate", json={"overlap": 0}, headers=bearing(key["key"]))).json()
    assert [await status(api, each["key"]) for each in (key, rotated)] == [401, 200]


async def test_fifty_clients_lose_no_request_while_their_key_is_rotated(api: Api, admin: str) -> None:
    """Each goes on with the old secret for a while, and then takes the new one."""
    key = await made(api)
    secrets, refused, done = [key["key"]], [], [0] * 50
    rotated, enough = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> None:
        own = secrets[0]
        while not enough.is_set():
            for method, path, content in (("POST", "/jobs", {"json": {"type": "echo"}}), ("GET", "/jobs?limit=1", {})):
                answer = await api.client.request(method, path, headers=bearing(own), **content)  # type: ignore[arg-type]
                if answer.status_code not in (200, 202, 429):
                    refused.append((number, answer.status_code, answer.text))
            done[number] += 1
            if rotated.is_set() and done[number] > number % 5 + 2:
                own = secrets[-1]
            if min(done) >= 10:
                enough.set()

    workers = [asyncio.create_task(work(number)) for number in range(50)]
    await eventually(lambda: min(done) >= 1, "all clients work")
    answer = await api.client.post(f"/keys/{key['id']}/rotate", json={"overlap": "1h"})
    secrets.append(answer.json()["key"])
    rotated.set()
    await asyncio.gather(*workers)
    assert refused == []
    assert min(done) >= 10


async def test_the_last_use_is_written_once_a_minute(api: Api, admin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    note_use = KeyStore.note_use

    async def counted(self: KeyStore, key_id: str, now: Any) -> None:
        writes.append(key_id)
        await note_use(self, key_id, now)

    monkeypatch.setattr(KeyStore, "note_use", counted)
    key = await made(api)
    for _ in range(5):
        assert await status(api, key["key"]) == 200

    async def last_used() -> Any:
        return (await api.client.get(f"/keys/{key['id']}")).json()["last_used"]

    await eventually(last_used, "the use is written")
    assert writes.count(key["id"]) == 1


async def test_a_key_in_the_url_is_no_key_and_in_no_log(api: Api, admin: str, caplog: pytest.LogCaptureFixture) -> None:
    api.client.headers.pop("authorization")
    with caplog.at_level(logging.DEBUG):
        for name in ("token", "key", "access_token", "api_key"):
            assert (await api.client.get("/jobs", params={name: admin})).status_code == 401
            refused = await api.client.get("/jobs", params={name: admin}, headers=bearing(admin))
            assert problem(refused, 400)["errors"][0]["path"] == name
            assert admin not in refused.text
        for path in (f"/jobs/{admin}", f"/{admin}", f"/jobs/{admin}/log", f"/keys/{admin}/rotate"):
            for headers in ({}, bearing(admin)):
                answer = await api.client.get(path, headers=headers)
                assert answer.status_code in (401, 404, 405)
        await api.client.get("/jobs", headers=bearing(admin[:-1]))
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ci_"))
    assert "ci_***" in said
    assert admin not in said
    assert admin[20:] not in said


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Basic YTpi", "bearer x", "Token {key}", "{key}", "Bearer {key} {key}",
        "Bearer {key},", "Bearer {key}\x00x", "Bearer ci_' OR 1=1 -- x____________", "Bearer \xe4",
        "Bearer " + "x" * 9000,
    ],
)  # fmt: skip
async def test_what_is_sent_otherwise_is_refused(api: Api, admin: str, value: str) -> None:
    raw = value.replace("{key}", admin).encode("latin-1")
    if b"\0" in raw:
        raw = raw.replace(b"\0", b"\x01")
    api.client.headers.pop("authorization")
    answer = await api.client.get("/jobs", headers=[(b"Authorization", raw)])
    assert answer.status_code in (400, 401)
    assert admin not in answer.text


async def test_the_scheme_is_read_in_any_case_and_sent_once(api: Api, admin: str) -> None:
    api.client.headers.pop("authorization")
    assert (await api.client.get("/jobs", headers={"Authorization": f"bEARER  {admin}"})).status_code == 200
    twice = await api.client.get("/jobs", headers=[("Authorization", f"Bearer {admin}")] * 2)
    assert problem(twice, 401)["code"] == "key_invalid"


async def test_known_keys_cost_no_read_of_the_database(api: Api, admin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    get = KeyStore.get

    async def counted(self: KeyStore, key_id: str) -> Any:
        reads.append(key_id)
        return await get(self, key_id)

    monkeypatch.setattr(KeyStore, "get", counted)
    monkeypatch.setattr(authentication, "KNOWN_SECONDS", 3600.0)
    key = await stored_key(api.controller.storage, role=Role.VIEWER, expires=utc_now() + timedelta(hours=1))
    answers = await asyncio.gather(*(api.client.get("/jobs", headers=bearing(key)) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert reads == [id_in(key)]


async def test_the_document_says_whether_keys_are_needed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "KNOWN_SECONDS", 0.0)

    async def needed() -> Any:
        return (await api.client.get("/openapi.json")).json()["paths"]["/jobs"]["get"]["security"]

    assert await needed() == [{"key": [Scope.JOBS_READ]}, {}]
    await stored_key(api.controller.storage)
    assert await needed() == [{"key": [Scope.JOBS_READ]}]
