"""Whom a request is for, and whose page sends it."""

import json
from typing import Any

import pytest

from tests.helpers.http import exchange
from tests.helpers.played_api import Api, StartApi

JSON = {"content-type": "application/json"}
REQUESTS = [
    ("GET", "/health"),
    ("GET", "/jobs"),
    ("GET", "/jobs/x/log"),
    ("HEAD", "/jobs"),
    ("POST", "/jobs"),
    ("POST", "/submit-async"),
    ("POST", "/jobs/cleanup"),
    ("DELETE", "/jobs/x"),
    ("OPTIONS", "/jobs"),
    ("GET", "/"),
    ("GET", "/nothing"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_another_host_is_refused_for_everything(api: Api, method: str, path: str) -> None:
    """As a browser asks whose resolver was told that evil.example is here (DNS rebinding)."""
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000", "sec-fetch-site": "same-origin"}
    answer = await api.client.request(method, path, headers=headers)
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        problem = answer.json()
        assert problem["code"] == "misdirected_request"
        assert "'evil.example'" in problem["detail"]
        assert "CI_ALLOWED_HOSTS" in problem["detail"]


async def test_hosts_that_are_set(start_api: StartApi) -> None:
    api = await start_api(allowed_hosts="ci.example.org,*.internal")
    for host in ("ci.example.org", "CI.example.org:443", "a.internal", "localhost:1", "127.0.0.1"):
        assert (await api.client.get("/health", headers={"host": host})).status_code == 200
    assert (await api.client.get("/health", headers={"host": "internal"})).status_code == 421
    own = {"host": "ci.example.org", "origin": "https://ci.example.org"}
    assert (await api.client.post("/jobs", json={"type": "echo"}, headers=own)).status_code == 202
    foreign = own | {"origin": "https://a.internal"}
    assert (await api.client.post("/jobs", json={"type": "echo"}, headers=foreign)).status_code == 403


@pytest.mark.parametrize("target", ["http://evil.example/health", "http://evil.example:80", "http://[::2]/health"])
async def test_the_host_of_a_whole_url_counts(api: Api, target: str) -> None:
    """RFC 9112 wants it, whatever `Host` says."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    (answer,) = await exchange(api.url, request)
    assert answer.status == 421


@pytest.mark.parametrize("target", ["http://localhost/health", "http://127.0.0.1:9/health?", "http://[::1]:80/health"])
async def test_a_whole_url_of_this_server_is_taken(api: Api, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
    (answer,) = await exchange(api.url, request)
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "origin", ["http://[", "http://[::1", "http://]", "//[", "\xff", "null", "", "http://", "http://a b"]
)
async def test_an_origin_that_is_none_is_foreign(api: Api, origin: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ci_server.requests")
    headers: dict[str, Any] = {"origin": origin.encode("latin-1")}
    answer = await api.client.post("/jobs", json={"type": "echo"}, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["code"] == "cross_site"
    assert "POST /jobs 403" in caplog.text


async def test_every_answer_says_that_its_type_is_not_to_be_guessed(api: Api) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    paths = ["/", "/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/log", "/metrics", "/nothing", "/health"]
    for path in [*paths, f"/jobs/{job_id}/stream", f"/jobs/{job_id}/stream?from_beginning=true"]:
        answer = await api.client.get(path)
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], path
    assert (await api.client.head(f"/jobs/{job_id}/stream")).headers.get_list("x-content-type-options") == ["nosniff"]
    (refused,) = await exchange(api.url, b"nonsense\r\n\r\n", half_close=True)
    assert refused.headers["x-content-type-options"] == "nosniff"
