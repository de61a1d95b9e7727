"""Browsers that sign in at an OpenID Connect issuer, and what is tried against it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ci_common.errors import SettingsError, Unavailable
from ci_common.wire.access.sessions import SignInProblem
from ci_persistence.stores.access.keys import KeyStore
from tests.helpers.oidc_issuer import OidcIssuer, oidc_issuer
from tests.helpers.played_api import Api, StartApi
from tests.helpers.service import problem

Start = Callable[..., Awaitable[Api]]
GRANT = {"role": "developer", "claims": {"email": "*@example.org"}}
PEOPLE = {"client_id": "ci", "request": ["openid", "email"], "owner": "{email}"}
ALICE = {"email": "alice@example.org"}
CALLBACK = "/session/oidc/callback"


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as running:
        running.person = ALICE
        yield running


@pytest.fixture
def start(start_api: StartApi, issuer: OidcIssuer, tmp_path: Path) -> Start:
    """Start a server at which people sign in with browsers."""

    async def started(settings: dict[str, Any] | None = None, **fields: Any) -> Api:
        path = tmp_path / "oidc.toml"
        path.write_text(issuer.config({**GRANT, "claims": dict(GRANT["claims"])}, **{**PEOPLE, **fields}))  # type: ignore[call-overload]
        return await start_api(oidc_config=path, **(settings or {}))

    return started


async def at_issuer(url: str) -> str:
    """Open a page of the issuer, and return where it sends the browser."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


async def begin(api: Api, **query: str) -> str:
    """Begin a sign-in, and return where the browser is sent."""
    answer = await api.client.get("/session/oidc", params=query)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def sign_in(api: Api, **query: str) -> httpx.Response:
    """Sign in, and return the last answer."""
    return await api.client.get(await at_issuer(await begin(api, **query)))


async def who(api: Api) -> Any:
    return (await api.client.get("/session")).json()["sender"]


def failed(answer: httpx.Response, reason: SignInProblem, return_to: str = "/ui/") -> None:
    """Check that the browser is sent to the page for signing in, and nowhere else."""
    url = urlsplit(answer.headers["location"])
    assert (answer.status_code, url.netloc, url.path) == (303, "", "/ui/sign-in")
    assert parse_qs(url.query) == {"error": [reason.value], "return_to": [return_to]}
    assert "ci-session" not in "".join(answer.headers.get_list("set-cookie"))


async def test_a_person_signs_in_and_comes_back_to_the_page(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    said = (await api.client.get("/session")).json()
    (way,) = said["issuers"]
    assert (said["needs_sign_in"], said["sender"], way["issuer"]) == (True, None, issuer.url)
    page = f"{way['url']}&return_to=%2Fui%2Fjobs%3Fstate%3Drunning%23L5"
    begun = await api.client.get(page)
    assert "HttpOnly; SameSite=Lax" in begun.headers["set-cookie"]
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["redirect_uri"] == [f"{api.url}{CALLBACK}"]
    assert (asked["client_id"], asked["scope"]) == (["ci"], ["openid email"])
    back = await at_issuer(begun.headers["location"])
    from_issuer = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    answer = await api.client.get(back, headers=from_issuer)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/jobs?state=running#L5")
    sender = await who(api)
    assert (sender["name"], sender["role"], sender["by"]) == ("alice@example.org", "developer", "session")
    assert sender["key"]["made_from"] is None
    job = await api.client.post("/jobs", json={"type": "echo"}, headers={"sec-fetch-site": "same-origin"})
    assert job.status_code == 202
    assert (await api.client.delete("/session", headers={"sec-fetch-site": "same-origin"})).status_code == 204
    assert await who(api) is None


async def test_a_session_outlives_the_token_that_began_it(start: Start, issuer: OidcIssuer) -> None:
    """Which lives for minutes, and is checked once."""
    api = await start({"sign_in_lifetime": 3600.0})
    answer = await sign_in(api)
    (cookie,) = (each for each in answer.headers.get_list("set-cookie") if each.startswith("ci-session"))
    age = re.search(r"Max-Age=(\d+)", cookie)
    assert age is not None
    assert 3500 < int(age[1]) <= 3600


@pytest.mark.parametrize("change", ["other", "", None])
async def test_a_wrong_state_signs_no_one_in(start: Start, issuer: OidcIssuer, change: str | None) -> None:
    api = await start()
    url = httpx.URL(await at_issuer(await begin(api, return_to="/ui/jobs")))
    url = url.copy_remove_param("state") if change is None else url.copy_set_param("state", change)
    failed(await api.client.get(url), SignInProblem.STATE, "/ui/jobs")
    assert issuer.asked["/token"] == 0, "the code is not even looked at"
    assert await who(api) is None


async def test_another_browser_cannot_be_signed_in_as_someone(start: Start) -> None:
    """Login CSRF: the callback of an attacker's sign-in, opened by someone else."""
    api = await start()
    back = await at_issuer(await begin(api))
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as victim:
        failed(await victim.get(back), SignInProblem.STATE)
        await victim.get("/session/oidc")  # A sign-in of its own does not help.
        failed(await victim.get(back), SignInProblem.STATE)
        assert (await victim.get("/session")).json()["sender"] is None


async def test_a_callback_counts_once(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    back = await at_issuer(await begin(api))
    kept = dict(api.client.cookies)
    assert (await api.client.get(back)).headers["location"] == "/ui/"
    failed(await api.client.get(back), SignInProblem.STATE)
    api.client.cookies = httpx.Cookies(kept)  # As if the cookie of the sign-in had been kept.
    failed(await api.client.get(back), SignInProblem.ISSUER_ERROR)
    assert issuer.asked["/token"] == 2


async def test_a_code_of_another_sign_in_is_not_exchanged(start: Start, issuer: OidcIssuer) -> None:
    """Without the verifier that belongs to it (PKCE)."""
    api = await start()
    stolen = httpx.URL(await at_issuer(await begin(api))).params["code"]
    own = httpx.URL(await at_issuer(await begin(api)))
    failed(await api.client.get(own.copy_set_param("code", stolen)), SignInProblem.ISSUER_ERROR)
    assert await who(api) is None


@pytest.mark.parametrize(
    "claims",
    [{"nonce": "other"}, {"nonce": None}, {"azp": "another"}, {"aud": "another"}, {"iss": "https://x.example"}],
)
async def test_a_token_that_was_made_for_something_else(start: Start, issuer: OidcIssuer, claims: Any) -> None:
    api = await start()
    issuer.person = ALICE | claims
    failed(await sign_in(api), SignInProblem.TOKEN)
    assert await who(api) is None


async def test_a_person_without_a_grant(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    issuer.person = {"email": "mallory@evil.example"}
    failed(await sign_in(api), SignInProblem.NOT_ALLOWED)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", SignInProblem.DENIED),
        ("server_error", SignInProblem.ISSUER_ERROR),
        ("<script>\r\nx: y", SignInProblem.ISSUER_ERROR),
    ],
)
async def test_an_issuer_that_refuses(start: Start, issuer: OidcIssuer, error: str, reason: SignInProblem) -> None:
    api = await start()
    issuer.person = {"error": error, "error_description": "why"}
    failed(await sign_in(api, return_to="/ui/jobs"), reason, "/ui/jobs")


async def test_an_answer_of_another_issuer(start: Start, issuer: OidcIssuer) -> None:
    """A mix-up (RFC 9207)."""
    api = await start()
    url = httpx.URL(await at_issuer(await begin(api)))
    failed(await api.client.get(url.copy_set_param("iss", "https://other.example")), SignInProblem.ISSUER_ERROR)
    assert issuer.asked["/token"] == 0


async def test_an_issuer_that_is_down(start: Start, issuer: OidcIssuer) -> None:
    api = await start()
    issuer.is_down = True
    failed(await api.client.get("/session/oidc"), SignInProblem.ISSUER_UNAVAILABLE)
    issuer.is_down = False
    back = await at_issuer(await begin(api))
    issuer.is_down = True
    failed(await api.client.get(back), SignInProblem.ISSUER_ERROR)
    issuer.is_down = False
    assert (await sign_in(api)).headers["location"] == "/ui/"


async def test_a_database_that_is_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    api = await start()
    back = await at_issuer(await begin(api))

    async def away(*_: object) -> bool:
        raise Unavailable("the database is away")

    monkeypatch.setattr(KeyStore, "add_session", away)
    failed(await api.client.get(back), SignInProblem.UNAVAILABLE)


@pytest.mark.parametrize(
    "path",
    [
        *("https://evil.example/", "//evil.example/ui/", "/\\evil.example", "/ui\\..\\x", "/jobs", "/ui", "", "ui/x"),
        *("/ui/../jobs", "/ui/%2e%2e/jobs", "/ui/./x", "/ui/x/..", "/ui/\r\nSet-Cookie: a=b", "/ui/\t/x", "/ui/é"),
        *("javascript:alert(1)", "/ui/" + "x" * 1000),
    ],
)
async def test_the_way_back_leads_to_a_page_of_this_server(start: Start, issuer: OidcIssuer, path: str) -> None:
    api = await start()
    answer = await api.client.get("/session/oidc", params={"return_to": path})
    assert problem(answer, 400)["errors"][0]["path"] == "return_to"
    assert "location" not in answer.headers


async def test_a_cookie_of_a_sign_in_that_was_changed(start: Start, issuer: OidcIssuer) -> None:
    """A site that can set cookies in the browser cannot make the sign-in lead to another host."""
    api = await start()
    await begin(api)
    (name,) = api.client.cookies
    for value in ("", "x", "W10", "W251bGwsMSwyXQ", "é".encode().hex(), "eyJhIjoxfQ"):
        answer = await api.client.get(
            CALLBACK, params={"code": "x", "state": "y"}, headers={"cookie": f"{name}={value}"}
        )
        failed(answer, SignInProblem.STATE)


@pytest.mark.parametrize("query", [{"issuer": "https://other.example"}, {"issuer": ""}])
async def test_only_issuers_of_the_file(start: Start, issuer: OidcIssuer, query: dict[str, str]) -> None:
    api = await start()
    answer = problem(await api.client.get("/session/oidc", params=query), 404)
    assert (answer["code"], issuer.url in answer["detail"]) == ("issuer_not_found", True)


async def test_where_there_is_no_issuer(start_api: StartApi) -> None:
    api = await start_api()
    assert "client_id" in problem(await api.client.get("/session/oidc"), 404)["detail"]
    failed(await api.client.get(CALLBACK), SignInProblem.STATE)


@pytest.mark.parametrize("secret_in", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("place", ["file", "env"])
async def test_a_confidential_client(
    start: Start, issuer: OidcIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret_in: str, place: str
) -> None:
    issuer.client_secret, issuer.secret_in = "s+cret: é", secret_in
    if place == "file":
        (tmp_path / "secret").write_text("s+cret: é\n")
    monkeypatch.setenv("CI_TEST_SECRET", "s+cret: é")
    reference = f"file:{tmp_path}/secret" if place == "file" else "env:CI_TEST_SECRET"
    api = await start(client_secret=reference)
    assert (await sign_in(api)).headers["location"] == "/ui/"
    issuer.client_secret = "another"
    failed(await sign_in(api), SignInProblem.ISSUER_ERROR)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("hunter2hunter2", "does not stand in this file"),
        ("file:/does/not/exist", "cannot be read"),
        ("env:CI_NOT_SET", "is empty"),
    ],
)
async def test_a_secret_that_cannot_be_had(start: Start, reference: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refusal:
        await start(client_secret=reference)
    assert "hunter2" not in str(refusal.value)


async def test_below_a_path_of_a_proxy_with_tls(start: Start, issuer: OidcIssuer) -> None:
    api = await start({"root_path": "/team/ci", "trusted_proxies": "127.0.0.1", "allowed_hosts": "ci.example.org"})
    through = {
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "ci.example.org",
    }
    said = (await api.client.get("/session", headers=through)).json()
    assert said["issuers"][0]["url"].startswith("/team/ci/session/oidc?issuer=")
    begun = await api.client.get("/session/oidc?return_to=/team/ci/ui/jobs", headers=through)
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith("__Host-ci-sign-in-")
    location = begun.headers["location"]
    assert parse_qs(urlsplit(location).query)["redirect_uri"] == [f"https://ci.example.org/team/ci{CALLBACK}"]
    back = httpx.URL(await at_issuer(location))
    sent = through | {"cookie": cookie.partition(";")[0]}
    answer = await api.client.get(back.raw_path.decode(), headers=sent)
    assert answer.headers["location"] == "/team/ci/ui/jobs"
    assert any(each.startswith("__Host-ci-session-") for each in answer.headers.get_list("set-cookie"))
    answer = await api.client.get(f"/team/ci{CALLBACK}", headers=through)
    assert answer.headers["location"].startswith("/team/ci/ui/sign-in?error=state")


async def test_no_secret_of_it_is_in_a_log(start: Start, issuer: OidcIssuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "ci_server")
    api = await start()
    back = httpx.URL(await at_issuer(await begin(api)))
    await api.client.get(back)
    await api.client.get(back)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ci_"))
    assert f"GET {CALLBACK} 303" in said
    assert "not signed in (state)" in said
    assert back.params["code"] not in said
    assert back.params["state"] not in said
