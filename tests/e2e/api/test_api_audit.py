"""The audit over HTTP: what is in it after requests that change something, and after those that are refused."""

import asyncio
import json
import logging
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ci_common.access.identity import Role, Scope
from ci_common.jobs import new_job_id
from ci_common.sharing.audit import BEGINNING, LONGEST, Chain, Mark
from ci_common.wire.access.audit import AuditEntryView, VerifiedView
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.audit import AuditFilter
from ci_server.access import audit as server_audit
from ci_server.endpoints import READING
from ci_server.routes import ENDPOINTS
from tests.helpers.keys import a_key, bearing, stored_key
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem

VALUE = "correct-horse-battery-staple"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202eend"
JWT = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


async def entries(api: Api, key: str | None = None, **query: Any) -> list[dict[str, Any]]:
    answer = await api.client.get("/audit", params={"after": 0, **query}, headers={} if key is None else bearing(key))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    for entry in found:
        AuditEntryView.model_validate(entry, strict=False)
    return found


async def administrator(api: Api) -> tuple[str, str]:
    """Return a key that may do everything, and its id."""
    key, text = a_key(owner="root")
    await api.controller.storage.keys.add(key)
    return text, key.id


def test_every_request_that_may_change_something_is_in_the_audit_or_says_why_not() -> None:
    for endpoint in ENDPOINTS:
        changes = endpoint.method not in READING or endpoint.changes
        assert endpoint.is_audited == (changes and not endpoint.unaudited), endpoint.name
        assert changes or not endpoint.unaudited, f"{endpoint.name} changes nothing, so it needs no reason"
    assert [each.name for each in ENDPOINTS if each.changes] == ["finish_sign_in"]
    assert {each.name for each in ENDPOINTS if each.unaudited} == {"begin_upload", "send_frames"}


async def test_says_who_did_what_from_where_and_with_which_key(api: Api) -> None:
    key, key_id = await administrator(api)
    headers = bearing(key)

    async def send(method: str, path: str, status: int, **more: Any) -> httpx.Response:
        answer = await api.client.request(method, path, headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer

    await send("POST", "/projects", 201, json={"name": "a b"})
    await send("PUT", "/projects/a%20b/members/bob", 200, json={"role": "viewer"})
    await send("PUT", "/secrets/TOKEN?project=web", 200, json={"value": VALUE})
    job = (await send("POST", "/jobs", 202, json={"type": "echo", "payload": {}, "project": "web"})).json()["job_id"]
    uploaded = (
        await send("POST", "/submit-async", 202, files={"file": zipped(a="x"), "spec": (None, '{"command": "true"}')})
    ).json()["job_id"]
    await send("POST", f"/jobs/{job}/ticket", 200)
    await send("POST", f"/jobs/{job}/cancel", 202)
    made = (await send("POST", "/keys", 201, json={"name": "alice", "role": "viewer"})).json()
    await send("DELETE", f"/keys/{made['id']}", 204)
    await send("POST", "/jobs/cleanup", 200, json={"older_than": "30d"})
    found = await entries(api, key)
    assert [(each["action"], each["target"], each["project"]) for each in found] == [
        ("create_project", "/projects/a%20b", "a b"),
        ("set_member", "/projects/a%20b/members/bob", "a b"),
        ("set_secret", "/secrets/TOKEN", "web"),
        ("submit_job", f"/jobs/{job}", "web"),
        ("submit_async", f"/jobs/{uploaded}", None),
        ("make_ticket", f"/jobs/{job}/ticket", "web"),
        ("cancel_job", f"/jobs/{job}/cancel", "web"),
        ("create_key", f"/keys/{made['id']}", None),
        ("revoke_key", f"/keys/{made['id']}", None),
        ("clean_up_jobs", "/jobs/cleanup", None),
    ]
    assert {(each["actor"], each["key_id"], each["address"]) for each in found} == {("root", key_id, "127.0.0.1")}
    assert {(each["outcome"], each["reason"], each["count"]) for each in found} == {("done", None, 1)}
    assert found[3]["request"] == "POST /jobs"
    everything = json.dumps(found)
    assert VALUE not in everything
    assert made["key"] not in everything
    assert key not in everything


async def test_what_was_not_carried_out_is_not_in_it(api: Api) -> None:
    assert (await api.client.post("/jobs", json={"type": "nothing"})).status_code == 400
    assert (await api.client.put("/secrets/TOKEN", json={"value": VALUE, "existing": True})).status_code == 404
    assert await entries(api) == []


async def test_a_submission_that_is_sent_again_is_told_apart(api: Api) -> None:
    for status in (202, 200):
        answer = await api.client.post("/jobs", json={"type": "echo", "payload": {}}, headers={"Idempotency-Key": "x"})
        assert answer.status_code == status
    assert [each["target"] for each in await entries(api)] == [f"/jobs/{answer.json()['job_id']}", "/jobs"]


async def test_refusals_say_who_was_refused_and_why(start_api: StartApi) -> None:
    api = await start_api(rate_changes="1/h")
    root, _ = await administrator(api)
    viewer, _ = a_key(role=Role.VIEWER, owner="carol", projects=frozenset({"other"}))
    limited, limited_key = a_key(role=Role.DEVELOPER, owner="dave", projects=frozenset({"other"}))
    revoked, revoked_key = a_key(owner="erin", revoked_time=viewer.created_time)
    for key in (viewer, limited, revoked):
        await api.controller.storage.keys.add(key)
    job = (await api.client.post("/jobs", json={"type": "echo", "payload": {}}, headers=bearing(root))).json()["job_id"]
    assert (await api.client.get("/jobs")).status_code == 401
    assert (await api.client.get("/jobs", headers=bearing(revoked_key))).status_code == 401
    assert (await api.client.get("/audit", headers=bearing(limited_key))).status_code == 403
    assert (await api.client.get(f"/jobs/{job}", headers=bearing(limited_key))).status_code == 404
    assert (await api.client.get(f"/jobs/{new_job_id()}", headers=bearing(limited_key))).status_code == 404
    for _ in range(3):
        answer = await api.client.post(f"/jobs/{job}/cancel", headers=bearing(root))
    assert answer.status_code == 429
    found = await entries(api, root, outcome="refused")
    shown = [
        (each["actor"], each["key_id"], each["action"], each["target"], each["reason"], each["count"]) for each in found
    ]
    assert shown == [
        ("unknown", None, "list_jobs", "/jobs", "key_missing", 1),
        ("unknown", revoked.id, "list_jobs", "/jobs", "key_invalid", 1),
        ("dave", limited.id, "list_audit", "/audit", "scope_missing", 1),
        ("dave", limited.id, "get_job", f"/jobs/{job}", "job_not_found", 1),
        ("root", found[-1]["key_id"], "cancel_job", f"/jobs/{job}/cancel", "rate_limited", 2),
    ]


async def test_requests_of_other_sites_and_to_other_hosts_are_in_it(api: Api) -> None:
    for _ in range(2):
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = await api.client.post("/jobs", json={"type": "echo"}, headers=headers)
        assert problem(answer, 403)["code"] == "cross_site"
    answer = await api.client.delete("/nothing", headers={"Host": "evil.example"})
    assert problem(answer, 421)["code"] == "misdirected_request"
    shown = [
        (each["actor"], each["action"], each["request"], each["reason"], each["count"]) for each in await entries(api)
    ]
    assert shown == [
        ("unknown", "request", "POST /jobs", "cross_site", 2),
        ("unknown", "request", "DELETE /nothing", "misdirected_request", 1),
    ]
    assert not any("evil" in str(each) for each in await entries(api)), "nothing of what was sent"


async def test_refusals_cannot_fill_the_disk(api: Api) -> None:
    root, _ = await administrator(api)
    keys = [a_key(role=Role.MEMBER, owner=f"user {number}") for number in range(server_audit.MOST_ROWS + 10)]
    for key, _ in keys:
        await api.controller.storage.keys.add(key)
    for _ in range(3):
        for _, text in keys:
            assert (await api.client.get("/pool", headers=bearing(text))).status_code == 403
    found = await entries(api, root, outcome="refused")
    assert len(found) == server_audit.MOST_ROWS + 1
    assert [each["count"] for each in found[:-1]] == [3] * server_audit.MOST_ROWS
    assert (found[-1]["actor"], found[-1]["address"], found[-1]["count"]) == ("others", "several", 30)


async def test_refusals_are_written_when_the_server_stops(start_api: StartApi) -> None:
    api = await start_api(auth="required")
    assert (await api.client.get("/jobs")).status_code == 401
    api.serving.cancel()
    await asyncio.gather(api.serving, return_exceptions=True)
    (found,) = await api.controller.storage.audit.list(AuditFilter(), limit=10)
    assert found.entry.reason == "key_missing"


async def test_hostile_names_reach_neither_audit_nor_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root, _ = await administrator(api)
    _, stolen = a_key()
    owner = f"eve{ESCAPES}"
    spy = await stored_key(api.controller.storage, role=Role.MEMBER, owner=owner)
    for path in (
        f"/secrets/{quote(ESCAPES)}",
        f"/jobs/{stolen}",
        "/jobs/" + "".join(f"%{ord(c):02x}" for c in stolen),
        f"/projects/{JWT}",
        f"/projects/glpat-{'x' * 24}",
        f"/projects/{'x' * 3000}",
        f"/jobs?q={stolen}&label={quote(ESCAPES)}:x&project={JWT}",
        "/secrets/é",
    ):
        answer = await api.client.delete(path, headers={**bearing(spy), "User-Agent": "x" * 900})
        assert answer.status_code in (403, 405)
    found = await entries(api, root, outcome="refused")
    assert found
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("ci_server")]
    everything = json.dumps(found, ensure_ascii=False) + "".join(logged)
    for secret in (stolen, stolen[20:60], JWT, "glpat-x", spy, root):
        assert secret not in everything
    assert "\x1b" not in everything
    assert "\u202e" not in everything
    assert {each["actor"] for each in found} == {"eve\\x1b]0;owned\\x07\\x1b[2J\\u202eend"}
    assert all(len(each[name]) <= LONGEST for each in found for name in ("actor", "request", "target"))


async def test_an_address_from_a_proxy_cannot_have_escapes(
    start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api = await start_api(trusted_proxies="127.0.0.1", auth="required", allowed_hosts="*")
    for address in ("2001:db8:1::1%\x80[31m", "2001:db8:2::1%\xe9eth0"):
        assert (
            await api.client.get("/jobs", headers={"X-Forwarded-For": address.encode("latin-1")})
        ).status_code == 401
    root, _ = await administrator(api)
    assert {entry["address"] for entry in await entries(api, root)} == {"2001:db8:1::1", "2001:db8:2::1"}
    assert all(record.getMessage().isprintable() for record in caplog.records if record.name == "ci_server.requests")


async def test_pages_in_both_directions_and_as_lines(api: Api) -> None:
    for number in range(5):
        await api.client.put(f"/secrets/T{number}", json={"value": VALUE})
    newest = await api.client.get("/audit", params={"limit": 2, "action": "set_secret"})
    assert [each["number"] for each in newest.json()] == [5, 4]
    following = await api.client.get(newest.links["next"]["url"])
    assert [each["number"] for each in following.json()] == [3, 2]
    lines = await api.client.get(
        "/audit?limit=3&after=0", headers={"Accept": "application/jsonl, application/json;q=0.5"}
    )
    assert lines.headers["content-type"].startswith("application/jsonl")
    oldest = [json.loads(line) for line in lines.text.splitlines()]
    chain = Chain(BEGINNING)
    assert [chain.check(each) for each in oldest] == [None, None, None]
    last = await api.client.get(lines.links["next"]["url"])
    assert [each["number"] for each in last.json()] == [4, 5]
    assert "next" not in last.links
    assert [each["number"] for each in await entries(api, target="/secrets/T3")] == [4]
    assert await entries(api, since="2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "query", ["outcome=maybe", "limit=1001", "cursor=0", "after=-1", "since=yesterday", "who=alice"]
)
async def test_a_wrong_query_is_refused(api: Api, query: str) -> None:
    problem(await api.client.get(f"/audit?{query}"), 400)


async def test_the_walk_names_the_first_entry_that_does_not_fit(api: Api) -> None:
    for number in range(4):
        await api.client.put(f"/secrets/T{number}", json={"value": VALUE})
    whole = (await api.client.get("/audit/verify")).json()
    VerifiedView.model_validate(whole, strict=False)
    assert (whole["entries"], whole["removed"], whole["broken"]) == (4, str(BEGINNING), None)
    assert Mark.parse(whole["last"]).number == 4
    assert (await api.client.get("/audit/verify", params={"mark": whole["last"]})).json() == whole
    problem(await api.client.get("/audit/verify?mark=4"), 400)

    async def forge(session: Session) -> None:
        await session.execute(Statement("UPDATE audit SET actor = 'mallory' WHERE number = 3"))

    await api.controller.storage.database.write(forge)
    broken = (await api.client.get("/audit/verify")).json()
    assert broken["broken"] == {"number": 3, "reason": "its digest is not that of its content"}
    assert Mark.parse(broken["last"]).number == 2
    noted = (await api.client.get("/audit/verify", params={"mark": f"2:{'0' * 64}"})).json()
    assert noted["broken"]["number"] == 2


async def test_only_the_scope_lets_see_it(api: Api) -> None:
    for scopes, projects, status in (
        ({Scope.AUDIT_READ}, None, 200),
        ({Scope.AUDIT_READ}, frozenset({"web"}), 403),
        (set(Scope) - {Scope.AUDIT_READ}, None, 403),
    ):
        key = await stored_key(api.controller.storage, role=None, scopes=frozenset(scopes), projects=projects)
        for path in ("/audit", "/audit/verify"):
            assert (await api.client.get(path, headers=bearing(key))).status_code == status


async def test_browsers_sign_in_and_out_by_name(api: Api) -> None:
    root, key_id = await administrator(api)
    page = {"Origin": api.url, "Sec-Fetch-Site": "same-origin"}
    for _ in range(2):
        await api.client.delete("/session", headers=page)
    assert (await api.client.post("/session", json={"key": root[:-1] + "x"}, headers=page)).status_code == 401
    assert (await api.client.post("/session", json={"key": root}, headers=page)).status_code == 201
    assert (await api.client.delete("/session", headers=page)).status_code == 204
    signed_in, signed_out, refused = await entries(api, root)
    assert (refused["actor"], refused["action"], refused["reason"]) == ("unknown", "create_session", "key_invalid")
    assert (signed_in["actor"], signed_in["action"], signed_in["key_id"]) == ("root", "create_session", key_id)
    session = signed_in["target"].removeprefix("/keys/")
    assert (signed_out["actor"], signed_out["action"], signed_out["key_id"]) == ("root", "delete_session", session)
    assert signed_out["target"] == signed_in["target"]
