"""Browsers that have signed in: the cookie, what it counts for, and for whose pages."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ci_common.access.identity import Role
from ci_common.access.keys import Key, id_in
from ci_common.times import from_rfc3339, utc_now
from ci_common.wire.access.sessions import SessionView
from ci_persistence.stores.access.keys import Rotation
from tests.helpers.http import Seen, read_stream
from tests.helpers.keys import a_key, bearing, stored_key
from tests.helpers.played_api import Api, StartApi
from tests.helpers.service import problem
from tests.helpers.waiting import eventually

OWN = {"sec-fetch-site": "same-origin"}
"""What a browser sends with a request of a page of this server."""


async def add(api: Api, **fields: Any) -> tuple[Key, str]:
    key, text = a_key(**fields)
    await api.controller.storage.keys.add(key)
    return key, text


async def sign_in(api: Api, key: str, **headers: str) -> httpx.Response:
    answer = await api.client.post("/session", json={"key": key}, headers=OWN | headers)
    assert answer.status_code == 201, answer.text
    return answer


async def who(api: Api, **headers: str) -> dict[str, Any]:
    answer = await api.client.get("/session", headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    SessionView.model_validate(answer.json())
    document: dict[str, Any] = answer.json()
    return document


def cookie_of(answer: httpx.Response) -> tuple[str, str, list[str]]:
    """Return name, value and attributes of the cookie that an answer sets."""
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    name, _, value = pair.partition("=")
    return name, value, attributes


async def test_a_browser_signs_in_with_a_key_and_out(api: Api) -> None:
    key, text = await add(api, role=Role.DEVELOPER, projects=frozenset({"web"}), name="alice's laptop")
    assert await who(api) == {"needs_sign_in": True, "sender": None, "problem": None, "issuers": []}
    answer = await sign_in(api, text)
    name, value, attributes = cookie_of(answer)
    assert name.startswith("ci-session-")
    assert id_in(value) != key.id, "the cookie does not have the key"
    assert {"Path=/", "HttpOnly", "SameSite=Lax"} < set(attributes)
    assert "Secure" not in attributes
    said = await who(api)
    assert said == answer.json()
    sender = said["sender"]
    assert (sender["name"], sender["role"], sender["projects"], sender["by"]) == (
        "alice",
        "developer",
        ["web"],
        "session",
    )
    assert (sender["key"]["kind"], sender["key"]["made_from"]) == ("session", key.id)
    assert from_rfc3339(sender["expires"]) - from_rfc3339(sender["key"]["created"]) == timedelta(days=1)
    job = await api.client.post("/jobs", json={"type": "echo", "project": "web"}, headers=OWN)
    assert job.status_code == 202
    assert (await api.client.get("/keys/own")).json()["key"]["id"] == sender["key"]["id"]
    answer = await api.client.delete("/session", headers=OWN)
    assert (answer.status_code, cookie_of(answer)[1], "Max-Age=0" in cookie_of(answer)[2]) == (204, "", True)
    assert problem(await api.client.get("/jobs"), 401)["code"] == "key_missing"
    stale = problem(await api.client.get("/jobs", headers={"cookie": f"{name}={value}"}), 401)
    assert (stale["code"], "has been revoked; sign in again" in stale["detail"]) == ("session_ended", True)
    assert (await api.client.delete("/session", headers=OWN)).status_code == 204, "again"


async def test_over_tls_the_cookie_is_of_this_host_alone(start_api: StartApi) -> None:
    api = await start_api(trusted_proxies="127.0.0.1")
    _, text = await add(api)
    proxied = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https"}
    name, value, attributes = cookie_of(await sign_in(api, text, **proxied))
    assert name.startswith("__Host-ci-session-")
    assert {"Secure", "Path=/", "HttpOnly", "SameSite=Lax"} < set(attributes)
    api.client.cookies.clear()
    plain = name.removeprefix("__Host-")
    assert (await api.client.get("/jobs", headers={"cookie": f"{name}={value}"})).status_code == 200
    refused = await api.client.get("/jobs", headers={"cookie": f"{plain}={value}", **proxied})
    assert refused.status_code == 401, "what was set without TLS does not count with it"
    both = {"cookie": f"{plain}=other; {name}={value}"}
    assert (await api.client.get("/jobs", headers=both)).status_code == 200


async def test_the_browser_knows_better_whether_it_has_tls(api: Api) -> None:
    """Behind a proxy that encrypts, and is not trusted."""
    _, text = await add(api)
    host = api.url.removeprefix("http://")
    name, value, _ = cookie_of(await sign_in(api, text, origin=f"https://{host}"))
    assert name.startswith("__Host-")
    assert (await api.client.get("/jobs", headers={"cookie": f"{name}={value}"})).status_code == 200


async def test_several_installations_on_one_host_have_cookies_of_their_own(start_api: StartApi) -> None:
    one, other = await start_api("one"), await start_api("other")
    names = {cookie_of(await sign_in(api, (await add(api))[1]))[0] for api in (one, other)}
    assert len(names) == 2


async def test_cookies_that_differ_do_not_count(api: Api) -> None:
    """Another server of the host can set one for a longer path, which browsers send first."""
    _, text = await add(api)
    name, value, _ = cookie_of(await sign_in(api, text))
    api.client.cookies.clear()
    _, theirs, _ = cookie_of(await sign_in(api, (await add(api, owner="mallory"))[1]))
    api.client.cookies.clear()
    assert (await who(api, cookie=f"{name}={theirs}; {name}={value}"))["sender"] is None


FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": "https://other.localhost"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "null"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_only_pages_of_this_server_change_anything_with_the_cookie(api: Api, headers: dict[str, str]) -> None:
    key, text = await add(api)
    await sign_in(api, text)
    for method, path in (
        ("POST", "/jobs"),
        ("DELETE", "/session"),
        ("POST", "/session"),
        ("DELETE", f"/keys/{key.id}"),
        ("PATCH", "/projects/x"),
        ("PUT", "/secrets/x"),
    ):
        body = {"key": text} if path == "/session" else {"type": "echo"}
        answer = await api.client.request(method, path, json=body, headers=headers)
        assert problem(answer, 403)["code"] == "cross_site", (method, path)
    assert (await who(api))["sender"]["name"] == "alice"
    assert (await api.client.get("/jobs")).json() == []


async def test_where_browsers_leave_out_the_header_the_origin_counts(api: Api) -> None:
    _, text = await add(api)
    own = {"origin": api.url}
    answer = await api.client.post("/session", json={"key": text}, headers=own)
    assert answer.status_code == 201
    assert (await api.client.post("/jobs", json={"type": "echo"}, headers=own)).status_code == 202


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
async def test_other_pages_load_nothing_with_the_cookie_but_as_a_page_of_its_own(api: Api, site: str) -> None:
    _, text = await add(api)
    await sign_in(api, text)
    for mode, destination in (("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe"), ("no-cors", "image")):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": destination}
        assert problem(await api.client.get("/jobs", headers=headers), 403)["code"] == "cross_site"
        assert problem(await api.client.get("/session", headers=headers), 403)["code"] == "cross_site"
    link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    answer = await api.client.get("/jobs", headers=link)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers


async def test_the_cookie_does_not_count_for_origins_that_are_let_in(start_api: StartApi) -> None:
    api = await start_api(cors_origins="https://ui.example.org")
    _, text = await add(api)
    page = {"origin": "https://ui.example.org", "sec-fetch-site": "cross-site"}
    assert (await api.client.post("/session", json={"key": text}, headers=page)).status_code == 403, "no login CSRF"
    await sign_in(api, text)
    answer = await api.client.get("/jobs", headers=page | {"sec-fetch-mode": "cors"})
    assert answer.status_code == 403
    assert "access-control-allow-credentials" not in answer.headers
    assert (await api.client.post("/jobs", json={"type": "echo"}, headers=page)).status_code == 403
    assert (await api.client.get("/jobs", headers=page | bearing(text))).status_code == 200


async def test_a_header_wins_over_the_cookie(api: Api) -> None:
    _, alice = await add(api)
    _, bob = await add(api, owner="bob", role=Role.VIEWER)
    await sign_in(api, alice)
    assert (await who(api, **bearing(bob)))["sender"]["name"] == "bob"
    refused = await api.client.get("/jobs", headers=bearing("ci_wrong"))
    assert problem(refused, 401)["code"] == "key_invalid", "not by the cookie then"
    said = await who(api, **bearing("ci_wrong"))
    assert (said["sender"], "not one of this server" in said["problem"]) == (None, True)


async def test_a_key_is_no_session_and_a_session_no_key(api: Api) -> None:
    _, text = await add(api)
    name, value, _ = cookie_of(await sign_in(api, text))
    api.client.cookies.clear()
    assert problem(await api.client.get("/jobs", headers=bearing(value)), 401)["code"] == "key_invalid"
    assert problem(await api.client.get("/jobs", headers={"cookie": f"{name}={text}"}), 401)["code"] == "session_ended"
    cookie = {"cookie": f"{name}={value}"}
    made = await api.client.post("/keys/own", headers=cookie | OWN)
    assert problem(made, 409)["code"] == "key_conflict"
    rotated = await api.client.post("/keys/own/rotate", headers=cookie | OWN)
    assert "sign in again" in problem(rotated, 409)["detail"]


@pytest.mark.parametrize("body", [{"key": "ci_wrong"}, {"key": "x" * 16_384}, {"key": "ey.x.y"}, {}, None])
async def test_a_wrong_key_signs_no_one_in(api: Api, body: Any) -> None:
    await add(api)
    answer = await api.client.post("/session", json=body, headers=OWN)
    assert problem(answer, 401)["code"] in ("key_invalid", "key_missing")
    assert "set-cookie" not in answer.headers


async def test_wrong_keys_are_limited_and_ended_sessions_are_not(start_api: StartApi) -> None:
    api = await start_api(rate_failed_keys="3/m")
    key, text = await add(api)
    name, value, _ = cookie_of(await sign_in(api, text))
    await api.controller.storage.keys.revoke(key.id, utc_now())
    stale = {"cookie": f"{name}={value}"}

    async def is_ended() -> bool:
        return (await api.client.get("/jobs", headers=stale)).status_code == 401

    await eventually(is_ended, "the session ends with its key")
    for _ in range(5):
        assert (await api.client.get("/jobs", headers=stale)).status_code == 401
    statuses = [(await api.client.post("/session", json={"key": "ci_x"}, headers=OWN)).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


async def test_a_session_ends_with_its_key(api: Api) -> None:
    key, text = await add(api)
    _, admin = await add(api, owner="admin")
    await sign_in(api, text)
    assert (await api.client.delete(f"/keys/{key.id}", headers=bearing(admin))).status_code == 204
    said = await who(api)
    assert (said["sender"], said["problem"]) == (None, "the browser's session has been revoked; sign in again")


async def test_a_session_ends_with_the_secret_that_began_it(api: Api) -> None:
    key, text = await add(api)
    await sign_in(api, text)
    assert (await api.client.post("/keys/own/rotate", json={"overlap": 0}, headers=bearing(text))).status_code == 200
    assert "has expired" in (await who(api))["problem"]
    assert (await api.controller.storage.keys.get(key.id)) is not None


async def test_no_session_is_longer_than_its_key(api: Api) -> None:
    until = utc_now() + timedelta(hours=1)
    _, text = await add(api, expires=until)
    answer = await sign_in(api, text)
    assert from_rfc3339(answer.json()["sender"]["expires"]) == until
    (age,) = (int(each.removeprefix("Max-Age=")) for each in cookie_of(answer)[2] if each.startswith("Max-Age="))
    assert 3500 < age <= 3600


async def test_signing_in_again_ends_the_session_before(api: Api) -> None:
    _, alice = await add(api)
    _, bob = await add(api, owner="bob")
    name, before, _ = cookie_of(await sign_in(api, alice))
    assert (await sign_in(api, bob)).json()["sender"]["name"] == "bob"
    assert (await who(api))["sender"]["name"] == "bob"
    said = await who(api, cookie=f"{name}={before}")
    assert said["sender"] is None


async def test_sessions_are_among_the_keys_and_revoked_as_they_are(api: Api) -> None:
    _, text = await add(api)
    _, admin = await add(api, owner="admin")
    session = (await sign_in(api, text)).json()["sender"]["key"]["id"]
    listed = (await api.client.get("/keys", headers=bearing(admin))).json()
    assert [each["name"] for each in listed if each["kind"] == "session"] == ["browser of alice"]
    assert (await api.client.delete(f"/keys/{session}", headers=bearing(admin))).status_code == 204
    assert problem(await api.client.get("/jobs"), 401)["code"] == "session_ended"


async def test_where_no_key_is_needed(api: Api) -> None:
    said = await who(api)
    assert (said["needs_sign_in"], said["sender"]["name"], said["sender"]["by"]) == (False, "local", "nothing")
    _, text = a_key()
    answer = await api.client.post("/session", json={"key": text}, headers=OWN)
    assert problem(answer, 401)["code"] == "key_invalid"


async def test_streams_open_with_the_cookie_and_end_with_the_session(api: Api) -> None:
    _, text = await add(api)
    name, value, _ = cookie_of(await sign_in(api, text))
    job_id = (await api.client.post("/jobs", json={"image": "x", "command": "true"}, headers=OWN)).json()["job_id"]
    await api.controller.start(job_id)
    api.controller.write(job_id, b"so far\n")
    seen = Seen()
    other_tab = {"cookie": f"{name}={value}", **OWN}
    async with httpx.AsyncClient(base_url=api.url, headers=other_tab, trust_env=False) as tab:
        path = f"/jobs/{job_id}/stream?from_beginning=true"
        task = asyncio.create_task(read_stream(tab, path, seen))
        await eventually(lambda: "log" in seen.types, "the log has come")
        assert (await api.client.delete("/session", headers=OWN)).status_code == 204
        await asyncio.wait_for(task, 30)
    assert (seen.types[-1], seen.events[-1]["message"]) == (
        "refused",
        "the browser's session has been revoked; sign in again",
    )


async def test_a_secret_changed_while_signing_in_begins_no_session(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = await add(api)
    storage = api.controller.storage
    assert (await api.client.get("/jobs", headers=bearing(text))).status_code == 200  # It is believed for a while.
    await storage.keys.rotate(key.id, Rotation("e" * 64, utc_now(), timedelta(0)))
    answer = await api.client.post("/session", json={"key": text}, headers=OWN)
    assert problem(answer, 401)["code"] == "key_invalid"
    assert [each.kind for each in await storage.keys.list()] == ["key"]


async def test_the_cookie_is_in_no_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    key = await stored_key(api.controller.storage)
    _, value, _ = cookie_of(await sign_in(api, key))
    await api.client.get("/jobs")
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ci_"))
    assert "POST /session 201" in said
    assert value not in said
    assert key not in said
