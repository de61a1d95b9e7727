"""Submitting jobs with secrets: who may, which ones they get, and what is refused."""

from typing import Any

import pytest

from ci_common.access.identity import Role, Scope
from ci_common.access.keys import new_secret
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem

VALUE = "correct-horse-battery-staple"
JOB = {"image": "i", "command": "true"}
KEY_TEXT = new_secret().key
TOKENS = [
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2_" * 9,
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "AKIA" + "ABCDEFGHIJ234567",
    "xoxb-1234567890-abcdefghijklmn",
    "sk-" + "proj-a1B2c3D4" * 3,
    KEY_TEXT,
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n",
]


@pytest.fixture
async def secrets(api: Api) -> None:
    api.client.headers.update(bearing(await stored_key(api.controller.storage)))
    for project in (None, "own", "other"):
        params = {} if project is None else {"project": project}
        assert (await api.client.put("/secrets/TOKEN", params=params, json={"value": VALUE})).status_code == 200
    await api.client.put("/secrets/GLOBAL", json={"value": VALUE})


async def given(api: Api, **fields: Any) -> list[dict[str, Any]]:
    answer = await api.client.post("/jobs", json={**JOB, **fields})
    assert answer.status_code == 202, answer.text
    job = await api.controller.storage.jobs.get(answer.json()["job_id"])
    return list((job.plan or {})["secrets"])


@pytest.mark.usefixtures("secrets")
async def test_a_job_gets_the_secrets_of_its_project_or_else_those_of_none(api: Api) -> None:
    assert await given(api, secrets=["TOKEN"]) == [{"name": "TOKEN", "project": None, "env": "TOKEN", "file": None}]
    wanted = {"TOKEN": "API_TOKEN", "GLOBAL": {"file": "token.txt"}}
    assert await given(api, project="own", secrets=wanted) == [
        {"name": "TOKEN", "project": "own", "env": "API_TOKEN", "file": None},
        {"name": "GLOBAL", "project": None, "env": None, "file": "token.txt"},
    ]
    refused = problem(await api.client.post("/jobs", json={**JOB, "project": "own", "secrets": ["ABSENT"]}), 409)
    assert (refused["code"], refused["errors"][0]["path"]) == ("secret_missing", "secrets.ABSENT")
    assert "ci secrets set ABSENT --project own" in refused["detail"]


@pytest.mark.usefixtures("secrets")
async def test_an_upload_gets_those_that_its_file_names(api: Api) -> None:
    archive = zipped(ci__yaml="secrets: [TOKEN]\ncommand: 'true'\n")
    files = {"file": ("p.zip", archive, "application/zip")}
    answer = await api.client.post("/submit-async", files=files)
    assert answer.status_code == 202, answer.text
    job = await api.controller.storage.jobs.get(answer.json()["job_id"])
    assert [each["name"] for each in (job.plan or {})["secrets"]] == ["TOKEN"]
    assert VALUE not in str(job)


@pytest.mark.usefixtures("secrets")
async def test_keys_without_the_scope_get_none(api: Api) -> None:
    storage = api.controller.storage
    writer = bearing(await stored_key(storage, scopes=frozenset({Scope.JOBS_WRITE, Scope.JOBS_READ})))
    refused = problem(await api.client.post("/jobs", json={**JOB, "secrets": ["TOKEN"]}, headers=writer), 403)
    assert refused["code"] == "scope_missing"
    assert "secrets:use" in refused["detail"]
    assert (await api.client.post("/jobs", json=JOB, headers=writer)).status_code == 202
    developer = bearing(await stored_key(storage, role=Role.DEVELOPER))
    made = await api.client.post("/jobs", json={**JOB, "secrets": ["TOKEN"]}, headers=developer)
    assert made.status_code == 202
    job_id = made.json()["job_id"]
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    assert (await api.client.post(f"/jobs/{job_id}/retry", headers=writer)).status_code == 403, "nor by a retry"
    assert (await api.client.post(f"/jobs/{job_id}/retry", headers=developer)).status_code == 202


@pytest.mark.usefixtures("secrets")
async def test_a_key_of_a_project_gets_no_secret_of_another_or_of_none(api: Api) -> None:
    key = bearing(await stored_key(api.controller.storage, role=Role.DEVELOPER, projects=frozenset({"own"})))
    assert (await api.client.post("/jobs", json={**JOB, "secrets": ["TOKEN"]}, headers=key)).status_code == 202
    refused = problem(await api.client.post("/jobs", json={**JOB, "secrets": ["GLOBAL"]}, headers=key), 409)
    assert refused["code"] == "secret_missing"
    assert "of no project" not in refused["detail"], "nor does it learn of them"


@pytest.mark.usefixtures("secrets")
async def test_a_job_that_is_not_trusted_gets_none_whatever_it_names(api: Api) -> None:
    wish = {"untrusted": True, "secrets": ["TOKEN", "ABSENT"], "project": "own"}
    assert await given(api, **wish) == []
    files = {"file": ("p.zip", zipped(ci__yaml="secrets: [TOKEN]\nuntrusted: false\ncommand: 'true'\n"))}
    made = await api.client.post("/submit-async", files=files, data={"spec": '{"untrusted": true}'})
    job_id = made.json()["job_id"]
    job = (await api.client.get(f"/jobs/{job_id}")).json()
    assert job["untrusted"], "its own file does not change that"
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    again = (await api.client.post(f"/jobs/{job_id}/retry")).json()
    assert again["untrusted"], "nor does a retry by another sender"
    for each in (job_id, again["job_id"]):
        assert (await api.controller.storage.jobs.get(each)).plan["secrets"] == []  # type: ignore[index]  # it has one
    trusted = (await api.client.post("/jobs", json=JOB)).json()
    assert not trusted["untrusted"]


@pytest.mark.usefixtures("secrets")
async def test_what_a_project_does_not_trust_stays_so(api: Api) -> None:
    body = {"name": "forks", "defaults": {"untrusted": True}}
    assert (await api.client.post("/projects", json=body)).status_code == 201
    assert await given(api, project="forks", untrusted=False, secrets=["TOKEN"]) == []


@pytest.mark.usefixtures("secrets")
async def test_a_member_gets_those_of_the_project(api: Api) -> None:
    key = bearing(await stored_key(api.controller.storage, owner="bob", role=Role.MEMBER))
    await api.client.post("/projects", json={"name": "own"})
    for role, status in (("viewer", 403), ("developer", 202)):
        await api.client.put("/projects/own/members/bob", json={"role": role})
        body = {**JOB, "project": "own", "secrets": ["TOKEN"]}
        assert (await api.client.post("/jobs", json=body, headers=key)).status_code == status
    body = {**JOB, "project": "own", "secrets": ["GLOBAL"]}
    assert (await api.client.post("/jobs", json=body, headers=key)).status_code == 409


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        (["A-B"], "no name of a secret"),
        (["A", "A"], "twice"),
        ([1], "no name of a secret"),
        ("TOKEN", "not an object with names and values"),
        ({"A": 3}, "no way to give a secret"),
        ({"A": {"env": "X", "file": "y"}}, "either `env` or `file`"),
        ({"A": {"path": "x"}}, "path"),
        ({"A": {"file": "../x"}}, "without a directory"),
        ({"A": {"file": ".."}}, "without a directory"),
        ({"A": "CI_OUTPUT"}, "no variable for a secret"),
        ({"A": "__ci_run"}, "no variable for a secret"),
        ({"CI_X": None}, "no variable for a secret"),
        ({"A": "X", "B": "X"}, "two secrets are given as the variable X"),
        ({f"A{n}": None for n in range(51)}, "at most 50"),
    ],
)
async def test_what_no_job_can_name(api: Api, secrets: Any, said: str) -> None:
    assert said in problem(await api.client.post("/jobs", json={**JOB, "secrets": secrets}), 400)["detail"]


async def test_a_variable_and_a_secret_of_one_name(api: Api) -> None:
    refused = problem(await api.client.post("/jobs", json={**JOB, "env": {"A": "x"}, "secrets": ["A"]}), 400)
    assert "name it once" in refused["detail"]


@pytest.mark.parametrize("place", ["env", "labels", "command", "argv", "step", "step env", "service"])
async def test_a_token_in_clear_is_refused(api: Api, place: str) -> None:
    for token in TOKENS:
        if place == "labels" and "\n" in token:
            continue
        body: dict[str, Any] = {
            "env": {**JOB, "env": {"X": f"a {token} b"}},
            "labels": {**JOB, "labels": {"x": token}},
            "command": {"image": "i", "command": f"curl -H 'Authorization: {token}' x"},
            "argv": {"image": "i", "command": ["curl", token]},
            "step": {"image": "i", "steps": [f"deploy {token}"]},
            "step env": {"image": "i", "steps": [{"run": "x", "env": {"X": token}}]},
            "service": {**JOB, "services": {"db": {"image": "i", "env": {"X": token}}}},
        }[place]
        answer = await api.client.post("/jobs", json=body)
        refused = problem(answer, 400)
        assert refused["code"] == "secret_in_payload", token
        assert "ci secrets set" in refused["detail"]
        assert token not in answer.text


NO_TOKENS = ["ghp_short", "sk-", "AKIA", "risk-assessment-of-a-very-long-branch-name", "ci_run_x", "npm_config"]


async def test_what_is_no_token_is_taken(api: Api) -> None:
    for text in NO_TOKENS:
        assert (await api.client.post("/jobs", json={**JOB, "env": {"X": text}})).status_code == 202, text


async def test_a_setting_takes_tokens_all_the_same(start_api: StartApi) -> None:
    api = await start_api(payload_secrets="allow")
    assert (await api.client.post("/jobs", json={**JOB, "env": {"X": TOKENS[0]}})).status_code == 202
