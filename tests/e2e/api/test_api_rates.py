"""Limits on rates over HTTP: what is refused, when, and what the answer says."""

import httpx
import pytest

from ci_common.access.identity import Role
from ci_persistence.stores.access.keys import KeyStore
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem


async def with_key(api: Api, **fields: object) -> dict[str, str]:
    return bearing(await stored_key(api.controller.storage, **fields))


async def test_too_many_requests_of_a_key_are_refused(start_api: StartApi) -> None:
    api = await start_api(rate_requests="3/h")
    one, other = await with_key(api), await with_key(api)
    answers = [await api.client.get("/jobs", headers=one) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=3600'
    assert answers[2].headers["ratelimit"].startswith('"requests";r=0;t=')
    refused = problem(answers[3], 429)
    assert refused["code"] == "rate_limited"
    assert 0 < int(answers[3].headers["retry-after"]) <= 1200
    assert answers[3].headers["ratelimit"].startswith('"requests";r=0;t=')
    assert (await api.client.get("/jobs", headers=other)).status_code == 200


async def test_it_is_decided_before_the_body_is_read(start_api: StartApi) -> None:
    api = await start_api(rate_submissions="1/h")
    key = await with_key(api)
    upload = {"file": ("project.zip", zipped(**{"ci.yaml": "command: 'true'"}), "application/zip")}
    assert (await api.client.post("/submit-async", files=upload, headers=key)).status_code == 202

    read = 0

    async def body() -> object:
        nonlocal read
        while read < 100:
            read += 1
            yield b"x" * 100_000

    form = {**key, "Content-Type": "multipart/form-data; boundary=b", "Content-Length": "10000000"}
    refused = await api.client.post("/submit-async", content=body(), headers=form)  # type: ignore[arg-type]
    assert problem(refused, 429)["code"] == "rate_limited"
    assert len(api.left_over()) == 1
    assert (await api.client.get("/jobs", headers=key)).status_code == 200, "reading is counted apart"


async def test_without_keys_this_machine_has_no_limit(start_api: StartApi) -> None:
    api = await start_api(rate_requests="1/h", rate_submissions="1/h", rate_project_submissions="1/h")
    for _ in range(3):
        answer = await api.client.post("/jobs", json={"type": "echo", "project": "p"})
        assert answer.status_code == 202
        assert "ratelimit" not in answer.headers


async def test_a_project_has_one_limit_for_all_its_keys(start_api: StartApi) -> None:
    api = await start_api(rate_project_submissions="2/h", rate_project_changes="1/h")
    bound = await with_key(api, projects=frozenset({"p"}), role=Role.DEVELOPER)
    free = await with_key(api)
    for headers in (bound, free):
        answer = await api.client.post("/jobs", json={"type": "echo", "project": "p"}, headers=headers)
        assert answer.status_code == 202
    for headers in (bound, free):
        refused = await api.client.post("/jobs", json={"type": "echo", "project": "p"}, headers=headers)
        assert problem(refused, 429)["code"] == "rate_limited"
    other = await api.client.post("/jobs", json={"type": "echo", "project": "q"}, headers=free)
    assert other.status_code == 202
    job_id = answer.json()["job_id"]
    assert (await api.client.post(f"/jobs/{job_id}/cancel", headers=free)).status_code == 202
    assert (await api.client.post(f"/jobs/{job_id}/cancel", headers=free)).status_code == 429
    assert (await api.client.delete(f"/jobs/{job_id}", headers=bound)).status_code == 429


async def test_wrong_keys_cost_the_database_nothing_any_more(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await start_api(rate_failed_keys="3/h")
    right, unseen = await with_key(api), await with_key(api)
    assert (await api.client.get("/jobs", headers=right)).status_code == 200
    asked: list[str] = []
    get = KeyStore.get

    async def noted(store: KeyStore, key_id: str) -> object:
        asked.append(key_id)
        return await get(store, key_id)

    monkeypatch.setattr(KeyStore, "get", noted)
    wrong = [right["Authorization"][:-1] + "?", "Basic eDp5", *(bearing(f"ci_{n}")["Authorization"] for n in range(3))]
    answers = [await api.client.get("/jobs", headers={"Authorization": key}) for key in wrong]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    asked.clear()
    assert (await api.client.get("/jobs", headers=unseen)).status_code == 429
    assert asked == []
    assert (await api.client.get("/jobs", headers=right)).status_code == 200, "a key that was seen to be right goes on"


async def test_a_request_without_a_key_is_no_attempt(start_api: StartApi) -> None:
    api = await start_api(rate_failed_keys="1/h")
    await with_key(api)
    answers: list[httpx.Response] = [await api.client.get("/jobs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401] * 3
