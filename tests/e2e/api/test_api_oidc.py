"""Tokens of OpenID Connect issuers: who is let in as what, and what is tried against it."""

import asyncio
import base64
import hmac
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from ci_client import device_flow
from ci_client.device_flow import Prompt
from ci_client.errors import SignInFailed
from ci_common.times import from_rfc3339
from ci_server.access.oidc import key_sets, tokens
from tests.helpers.http import read_stream
from tests.helpers.keys import bearing, stored_key
from tests.helpers.oidc_issuer import OidcIssuer, oidc_issuer
from tests.helpers.played_api import Api, StartApi
from tests.helpers.service import problem
from tests.helpers.waiting import eventually

DEVELOPER = {"role": "developer"}
Start = Callable[..., Awaitable[Api]]


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as running:
        yield running


@pytest.fixture
def start(start_api: StartApi, issuer: OidcIssuer, tmp_path: Path) -> Start:
    """Start a server that trusts the issuer with these grants."""

    async def started(*grants: dict[str, Any], **fields: Any) -> Api:
        path = tmp_path / "oidc.toml"
        path.write_text(issuer.config(*(grants or (DEVELOPER,)), **fields))
        return await start_api(oidc_config=path)

    return started


async def get(api: Api, token: str, path: str = "/jobs") -> httpx.Response:
    return await api.client.get(path, headers=bearing(token))


async def refused(api: Api, token: str) -> str:
    answer = problem(await get(api, token), 401)
    assert answer["code"] == "key_invalid"
    return str(answer["detail"])


async def test_a_token_lets_its_sender_in_as_the_grant_says(start: Start, issuer: OidcIssuer) -> None:
    api = await start(DEVELOPER, owner="{email}")
    token = issuer.token(email="alice@example.org")
    job = await api.client.post("/jobs", json={"type": "echo"}, headers=bearing(token))
    assert job.status_code == 202
    stored = await api.controller.storage.jobs.get(job.json()["job_id"])
    assert stored.owner == "alice@example.org"
    problem(await api.client.post("/jobs/cleanup", json={"older_than": "1d"}, headers=bearing(token)), 403)


async def test_the_audit_has_the_first_request_with_each_token(start: Start, issuer: OidcIssuer) -> None:
    api = await start({"role": "admin"}, owner="{email}")
    tokens = [issuer.token(email=f"{name}@example.org", jti=name) for name in ("alice", "bob", "root")]
    for token in tokens[:2]:
        answers = await asyncio.gather(*(get(api, token) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
    await refused(api, issuer.token(email="eve@example.org", aud="other"))
    found = (await get(api, tokens[2], "/audit?after=0")).json()
    assert [(each["actor"], each["action"], each["request"], each["outcome"]) for each in found] == [
        ("alice@example.org", "sign_in_by_token", "GET /jobs", "done"),
        ("bob@example.org", "sign_in_by_token", "GET /jobs", "done"),
        ("root@example.org", "sign_in_by_token", "GET /audit", "done"),
        ("unknown", "list_jobs", "GET /jobs", "refused"),
    ]
    assert not any(token in str(found) for token in tokens)


async def test_every_request_needs_a_token_or_a_key(start: Start) -> None:
    api = await start()
    assert problem(await api.client.get("/jobs"), 401)["code"] == "key_missing"
    key = await stored_key(api.controller.storage)
    assert (await api.client.get("/jobs", headers=bearing(key))).status_code == 200


async def test_workloads_get_what_the_first_grant_with_their_claims_says(start: Start, issuer: OidcIssuer) -> None:
    main = {"repository": "acme/web", "ref": ["refs/heads/main", "refs/tags/*"]}
    api = await start(
        {"role": "operator", "projects": ["web"], "claims": main},
        {"scopes": ["jobs:read"], "projects": ["{repository}"], "claims": {"repository": "acme/*"}},
        {"role": "viewer", "claims": {"groups": "staff"}},
        owner="repo:{repository}",
    )

    async def submits(project: str, **claims: Any) -> int:
        token = issuer.token(**claims)
        answer = await api.client.post("/jobs", json={"type": "echo", "project": project}, headers=bearing(token))
        return answer.status_code

    assert await submits("web", repository="acme/web", ref="refs/tags/v1") == 202
    assert await submits("other", repository="acme/web", ref="refs/heads/main") == 403
    assert await submits("web", repository="acme/web", ref="refs/heads/feature") == 403
    assert (await get(api, issuer.token(repository="acme/web", ref="x"))).json() == [], "its own project, without jobs"
    staff = issuer.token(groups=["staff", "others"], repository="elsewhere/x")
    assert len((await get(api, staff)).json()) == 1
    assert "none of the grants" in await refused(api, issuer.token(repository="elsewhere/x"))
    assert "no claim 'repository'" in await refused(api, issuer.token(groups="staff"))


FROM_OUTSIDE = [
    {"event_name": "pull_request"},
    {"event_name": "pull_request_target"},
    {"event_name": "workflow_run"},
    {"pipeline_source": "merge_request_event"},
]


@pytest.mark.parametrize("claims", FROM_OUTSIDE, ids=lambda claims: next(iter(claims.values())))
async def test_jobs_of_pull_requests_get_no_secrets(start: Start, issuer: OidcIssuer, claims: dict[str, str]) -> None:
    api = await start({"role": "admin"}, owner="{repository}")
    value = {"value": "correct-horse-battery-staple"}
    push = bearing(issuer.token(repository="acme/web", event_name="push", pipeline_source="push"))
    change = bearing(issuer.token(repository="acme/web", **claims))
    assert (await api.client.put("/secrets/TOKEN", json=value, headers=push)).status_code == 200

    async def given(headers: dict[str, str], path: str = "/jobs", **body: Any) -> tuple[str, list[Any]]:
        answer = await api.client.post(path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        job = await api.controller.storage.jobs.get(answer.json()["job_id"])
        assert answer.json()["untrusted"] == (not (job.plan or {})["secrets"])
        return job.id, (job.plan or {})["secrets"]

    job = {"image": "i", "command": "true", "secrets": ["TOKEN"]}
    trusted, secrets = await given(push, **job)
    assert len(secrets) == 1
    assert (await given(change, **job))[1] == []
    await api.controller.start(trusted)
    await api.controller.finish(trusted)
    assert (await given(change, f"/jobs/{trusted}/retry", command="env"))[1] == [], "of a job that had them"

    # Nor does it get them in another way.
    for method, path, body in (
        ("PUT", "/secrets/TOKEN", value),
        ("POST", "/keys", {"name": "other", "role": "developer"}),
        ("PUT", "/projects/web/members/acme%2Fweb", {"role": "admin"}),
    ):
        answer = await api.client.request(method, path, json=body, headers=change)
        assert problem(answer, 403)["code"] == "scope_missing"
    own = await api.client.post("/keys/own", headers=change)
    assert own.status_code == 201, own.text
    refused = await api.client.post("/jobs", json=job, headers=bearing(own.json()["key"]))
    assert problem(refused, 403)["code"] == "scope_missing"


async def test_what_is_not_trusted_can_be_said_of_each_issuer(start: Start, issuer: OidcIssuer) -> None:
    api = await start({"role": "admin"}, untrusted=[])
    token = bearing(issuer.token(event_name="pull_request"))
    await api.client.put("/secrets/TOKEN", json={"value": "correct-horse-battery-staple"}, headers=token)
    job = {"image": "i", "command": "true", "secrets": ["TOKEN"]}
    assert (await api.client.post("/jobs", json=job, headers=token)).json()["untrusted"] is False


async def test_claims_are_checked(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    now = int(time.time())
    assert "has expired" in await refused(api, issuer.token(exp=now - 61))
    assert (await get(api, issuer.token(exp=now - 30))).status_code == 200, "clocks may differ by a minute"
    assert "aud" in await refused(api, issuer.token(aud="https://other.example.org"))
    assert (await get(api, issuer.token(aud=["x", "https://ci.example.org"]))).status_code == 200
    assert "iss" in await refused(api, issuer.token(iss="https://other.example.org"))
    for claim in ("aud", "exp", "sub"):
        assert claim in await refused(api, issuer.token(**{claim: None}))
    await refused(api, issuer.token(nbf=now + 120))
    await refused(api, issuer.token(exp="tomorrow"))


def unsigned(issuer: OidcIssuer, algorithm: str) -> str:
    _, claims, _ = issuer.token().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "first"}).encode()).decode().rstrip("=")
    return f"{header}.{claims}."


async def test_no_algorithm_makes_a_token_without_the_private_key(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    for name in ("none", "None", "HS256"):
        assert "is accepted" in await refused(api, unsigned(issuer, name))
    signed = unsigned(issuer, "HS256").rstrip(".")
    digest = hmac.digest(issuer.keys[0].as_pem(private=False), signed.encode(), "sha256")
    confused = f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    assert "is accepted" in await refused(api, confused)
    head, body, signature = issuer.token().split(".")
    other = issuer.token(sub="root").split(".")[1]
    assert "not valid" in await refused(api, f"{head}.{other}.{signature}")
    assert "not valid" in await refused(api, f"{head}.{body}.{signature[:-8]}AAAAAAAA")


async def test_a_token_cannot_bring_its_key_along(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    own = RSAKey.generate_key(2048, {"kid": "first"})
    for header in ({"jwk": own.as_dict(private=False)}, {"jku": f"{issuer.url}/evil"}):
        assert "not valid" in await refused(api, issuer.token(key=own, header=header))
    for kid in ("../../etc/passwd", "' OR 1=1 --", "x" * 501, "first\0"):
        await refused(api, issuer.token(key=own, header={"kid": kid}))
    assert issuer.asked["/evil"] == 0


@pytest.mark.parametrize("text", ["ey..", "eyJ.x.y", "ey" + "J" * 16_000 + ".a.b", "eyJhbGciOiJSUzI1NiJ9.W10.x"])
async def test_what_is_no_token_is_refused(start: Start, text: str) -> None:
    await refused(await start(), text)


async def test_a_key_that_the_issuer_has_changed_to_is_asked_for(
    start: Start, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await start()
    before = issuer.token()
    assert (await get(api, before)).status_code == 200
    issuer.rotate("second", "EC")
    assert "does not have" in await refused(api, issuer.token()), "it has just been asked"
    assert issuer.asked["/keys"] == 1
    monkeypatch.setattr(key_sets, "UNKNOWN_SECONDS", 0.0)
    assert (await get(api, issuer.token())).status_code == 200
    assert (await get(api, before)).status_code == 200
    del issuer.keys[0]
    monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
    assert "does not have" in await refused(api, before)


async def test_keys_outlive_an_issuer_that_is_down_for_a_day(
    start: Start, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await start()
    issuer.is_down = True
    answer = await get(api, issuer.token())
    assert problem(answer, 503)["code"] == "unavailable"
    issuer.is_down = False
    monkeypatch.setattr(key_sets, "UNKNOWN_SECONDS", 0.0)
    assert (await get(api, issuer.token())).status_code == 200
    issuer.is_down = True
    monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
    assert (await get(api, issuer.token())).status_code == 200
    monkeypatch.setattr(key_sets, "STALE_SECONDS", 0.0)
    assert (await get(api, issuer.token())).status_code == 503


async def test_a_discovery_document_of_another_issuer_is_not_believed(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    issuer.named = "https://other.example.org"
    assert (await get(api, issuer.token())).status_code == 503


async def test_many_requests_ask_the_issuer_once(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    token = issuer.token()
    async with httpx.AsyncClient(base_url=api.url, headers=bearing(token), trust_env=False) as client:
        answers = await asyncio.gather(*(client.get("/jobs") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert issuer.asked["/keys"] == 1


async def test_without_issuers_a_token_is_refused_as_one(api: Api, issuer: OidcIssuer) -> None:
    await stored_key(api.controller.storage)
    assert "CI_OIDC_CONFIG" in await refused(api, issuer.token())


async def test_a_stream_ends_with_its_token(start: Start, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "SKEW_SECONDS", 0)
    api = await start()
    lasting = bearing(issuer.token())
    answer = await api.client.post("/jobs", json={"image": "busybox", "command": "true"}, headers=lasting)
    job_id = answer.json()["job_id"]
    await api.controller.start(job_id)
    path = f"/jobs/{job_id}/stream"
    token = bearing(issuer.token(exp=int(time.time()) + 3))
    ticket = (await api.client.post(f"/jobs/{job_id}/ticket", headers=token)).json()["ticket"]
    by_header = asyncio.create_task(read_stream(api.client, path, headers=token))
    by_ticket = asyncio.create_task(read_stream(api.client, f"{path}?ticket={ticket}"))
    goes_on = asyncio.create_task(read_stream(api.client, path, headers=lasting))
    for ended in (by_header, by_ticket):
        last = (await asyncio.wait_for(ended, 30)).events[-1]
        assert (last["type"], "token has expired" in last["message"]) == ("refused", True)
    assert not goes_on.done()
    await api.controller.finish(job_id)
    assert (await asyncio.wait_for(goes_on, 30)).types[-1] == "complete"


PEOPLE = {"client_id": "ci", "request": ["openid", "email"], "owner": "{email}"}


async def sign_in(api: Api, issuer: OidcIssuer) -> str:
    (found,) = (await api.client.get("/sign-in")).json()
    assert found == {"issuer": issuer.url, "client_id": "ci", "scopes": ["openid", "email"]}
    shown: list[Prompt] = []

    def show(prompt: Prompt) -> None:
        shown.append(prompt)

    token = await device_flow.sign_in(found["issuer"], found["client_id"], found["scopes"], show)
    assert shown == [Prompt(f"{issuer.url}/sign-in", "ABCD-EFGH", f"{issuer.url}/sign-in?code=ABCD-EFGH")]
    assert issuer.device == {"client_id": "ci", "scope": "openid email"}
    return token


async def test_a_person_signs_in_and_gets_a_key_for_a_day(start: Start, issuer: OidcIssuer) -> None:
    api = await start({"role": "developer", "projects": ["web"]}, **PEOPLE)
    waiting = asyncio.create_task(sign_in(api, issuer))
    await eventually(lambda: issuer.asked["/token"] > 1, "the client waits for the person")
    issuer.person = {"email": "alice@example.org"}
    made = (await api.client.post("/keys/own", headers=bearing(await waiting))).json()
    assert (made["owner"], made["projects"], made["name"]) == (
        "alice@example.org",
        ["web"],
        "sign-in of alice@example.org",
    )
    assert from_rfc3339(made["expires"]) - from_rfc3339(made["created"]) == timedelta(days=1)
    own = (await get(api, made["key"], "/keys/own")).json()
    assert (own["name"], own["key"]["id"]) == ("alice@example.org", made["id"])
    assert "jobs:write" in own["scopes"]
    assert "keys:admin" not in own["scopes"]
    assert problem(await api.client.post("/keys/own", headers=bearing(made["key"])), 409)["code"] == "key_conflict"


@pytest.mark.parametrize(
    ("error", "said"),
    [("access_denied", "was refused on"), ("expired_token", "no one has signed in"), ("server_error", "server_error")],
)
async def test_a_person_who_does_not_sign_in(start: Start, issuer: OidcIssuer, error: str, said: str) -> None:
    api = await start(**PEOPLE)
    issuer.person = {"error": error}
    with pytest.raises(SignInFailed, match=said):
        await sign_in(api, issuer)


async def test_nothing_is_sent_to_an_issuer_without_tls() -> None:
    with pytest.raises(SignInFailed, match="no TLS"):
        await device_flow.sign_in("http://issuer.example.org", "ci", ["openid"], lambda _: None)


async def test_where_no_one_signs_in(start: Start) -> None:
    api = await start()
    assert (await api.client.get("/sign-in")).json() == []


async def test_ci_login_keeps_the_key(start: Start, issuer: OidcIssuer, tmp_path: Path) -> None:
    api = await start(**PEOPLE)
    issuer.person = {"email": "alice@example.org"}
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "CI_TOKEN": "", "CI_SERVER_URL": api.url}

    async def ci(*words: str) -> tuple[int | None, str]:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ci_cli", *words, env=environment, stderr=asyncio.subprocess.STDOUT, stdout=PIPE
        )
        said, _ = await running.communicate()
        return running.returncode, said.decode()

    status, said = await ci("login", "--oidc")
    assert status == 0, said
    assert "ABCD-EFGH" in said
    assert "as alice@example.org" in said
    assert (await ci("list"))[0] == 0
    status, said = await ci("login", "--oidc", "--issuer", "https://other.example.org")
    assert (status, issuer.url in said) == (64, True)
