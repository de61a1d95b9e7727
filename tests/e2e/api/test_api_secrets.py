"""Secrets over HTTP: set, listed, rotated, removed. No answer and no file has a value."""

import base64
import logging
from pathlib import Path

import pytest

from ci_common.access.identity import Role, Scope
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.stored import place_of
from ci_common.wire.access.secrets import SecretView
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api
from tests.helpers.service import problem

VALUE = "correct-horse-battery-staple"


def ring_of(api: Api) -> KeyRing:
    return KeyRing(api.controller.data.path / "secrets.keys")


async def test_a_secret_is_set_and_never_comes_back(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        await api.client.put("/secrets/TOKEN", json={"value": VALUE}),
        await api.client.put("/secrets/TOKEN", params={"project": "website"}, json={"value": VALUE[::-1]}),
        await api.client.get("/secrets"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert VALUE not in answer.text
        assert VALUE[::-1] not in answer.text
    assert [(each["project"], each["name"], each["created_by"]) for each in answers[2].json()] == [
        (None, "TOKEN", "local"),
        ("website", "TOKEN", "local"),
    ]
    for document in answers[2].json():
        SecretView.model_validate(document, strict=False)
    secret = await api.controller.storage.secrets.get(None, "TOKEN")
    assert secret is not None
    assert secret.sealed is not None
    assert ring_of(api).unseal(secret.sealed, place_of(None, "TOKEN")) == VALUE
    for path in Path(api.controller.data.path.parent).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert VALUE.encode() not in content, path
            assert base64.b64encode(VALUE.encode()) not in content, path
    assert VALUE not in caplog.text


async def test_a_value_is_rotated_only_where_there_is_one(api: Api) -> None:
    refused = problem(await api.client.put("/secrets/TOKEN", json={"value": VALUE, "existing": True}), 404)
    assert refused["code"] == "secret_not_found"
    made = (await api.client.put("/secrets/TOKEN", json={"value": VALUE})).json()
    changed = (await api.client.put("/secrets/TOKEN", json={"value": VALUE * 2, "existing": True})).json()
    assert (changed["created"], changed["changed"] > made["changed"]) == (made["created"], True)


async def test_a_secret_is_removed_once(api: Api) -> None:
    await api.client.put("/secrets/TOKEN", json={"value": VALUE})
    assert problem(await api.client.delete("/secrets/TOKEN?project=x"), 404)["code"] == "secret_not_found"
    assert (await api.client.delete("/secrets/TOKEN")).status_code == 204
    assert problem(await api.client.delete("/secrets/TOKEN"), 404)["code"] == "secret_not_found"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "either a `value`"),
        ({"value": VALUE, "reference": "env:A"}, "either a `value`"),
        ({"value": "s3cr"}, "fewer than 8 characters"),
        ({"value": "password"}, "a common word"),
        ({"value": "a\0bcdefghij"}, "NUL byte"),
        ({"value": 3}, "value"),
        ({"value": [VALUE]}, "value"),
        ({"value": {"x": VALUE}}, "value"),
        ({"reference": "gopher:x"}, "write env:NAME"),
        ({"value": VALUE, "mask": False}, "mask"),
    ],
)
async def test_a_refusal_says_what_would_be_right_and_not_what_was_sent(
    api: Api, body: dict[str, object], said: str
) -> None:
    answer = await api.client.put("/secrets/TOKEN", json=body)
    assert said in problem(answer, 400)["detail"]
    assert VALUE not in answer.text
    assert "s3cr" not in answer.text
    assert (await api.client.put("/secrets/TOKEN", content=f'{{"value": "{VALUE}"')).status_code == 400
    assert VALUE not in (await api.client.put("/secrets/TOKEN", content=f'{{"value": "{VALUE}"')).text


async def test_short_values_are_taken_where_they_are_shown(api: Api) -> None:
    answer = await api.client.put("/secrets/PIN", json={"value": "1234", "masked": False})
    assert (answer.status_code, answer.json()["masked"]) == (200, False)


@pytest.mark.parametrize("name", ["9a", "a-b", "a b", "x" * 101, "..", "%2e%2e"])
async def test_names_are_those_of_variables(api: Api, name: str) -> None:
    assert (await api.client.put(f"/secrets/{name}", json={"value": VALUE})).status_code in (400, 404, 405)
    assert (await api.client.get("/secrets")).json() == []


async def test_keys_of_a_project_see_and_set_its_secrets_alone(api: Api) -> None:
    storage = api.controller.storage
    api.client.headers.update(bearing(await stored_key(storage)))
    for project in (None, "own", "other"):
        params = {} if project is None else {"project": project}
        await api.client.put("/secrets/TOKEN", params=params, json={"value": VALUE})
    key = bearing(await stored_key(storage, role=Role.OPERATOR, projects=frozenset({"own"})))
    assert [each["project"] for each in (await api.client.get("/secrets", headers=key)).json()] == ["own"]
    made = await api.client.put("/secrets/NEW", json={"value": VALUE}, headers=key)
    assert made.json()["project"] == "own", "its only project"
    refused = await api.client.put("/secrets/NEW?project=other", json={"value": VALUE}, headers=key)
    assert problem(refused, 403)["code"] == "project_refused"
    for query in ("", "?project=other"):
        assert (await api.client.delete(f"/secrets/TOKEN{query}", headers=key)).status_code == 404


async def test_developers_see_names_and_set_nothing(api: Api) -> None:
    key = bearing(await stored_key(api.controller.storage, role=Role.DEVELOPER))
    assert (await api.client.get("/secrets", headers=key)).status_code == 200
    assert (
        problem(await api.client.put("/secrets/A", json={"value": VALUE}, headers=key), 403)["code"] == "scope_missing"
    )
    viewer = bearing(await stored_key(api.controller.storage, role=Role.VIEWER))
    assert (await api.client.get("/secrets", headers=viewer)).status_code == 403
    writer = bearing(await stored_key(api.controller.storage, scopes=frozenset({Scope.SECRETS_WRITE})))
    assert (await api.client.put("/secrets/A", json={"value": VALUE}, headers=writer)).status_code == 200


async def test_without_a_usable_key_ring_nothing_is_set(api: Api) -> None:
    await api.client.put("/secrets/TOKEN", json={"value": VALUE})
    ring_of(api).path.chmod(0o644)
    refused = problem(await api.client.put("/secrets/TOKEN", json={"value": VALUE}), 503)
    assert "chmod 600" in refused["detail"]
