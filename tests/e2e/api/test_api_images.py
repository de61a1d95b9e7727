"""The images that a server allows."""

from typing import Any

import pytest

from ci_common.errors import SettingsError
from ci_common.settings import Settings
from tests.helpers.played_api import Api, StartApi, zipped

DIGEST = "@sha256:" + "a" * 64


async def answered(api: Api, **spec: Any) -> tuple[int, str]:
    answer = await api.client.post("/jobs", json={"command": "true", **spec})
    return answer.status_code, str(answer.json().get("code"))


async def test_images_that_are_named(start_api: StartApi) -> None:
    api = await start_api(allowed_images="python:3.*, ghcr.io/team/*", default_image="python:3.12-slim")
    for image in ("python:3.12-slim", "docker.io/library/python:3.9", "ghcr.io/team/a/b:1", "ghcr.io/team/a" + DIGEST):
        assert await answered(api, image=image) == (202, "None"), image
    assert await answered(api) == (202, "None")
    for image in ("python:2.7", "ghcr.io/others/a", "evil.example/python:3.12", "sha256:" + "a" * 64, "python"):
        assert await answered(api, image=image) == (403, "image_refused"), image
    service = {"image": "postgres:16"}
    assert await answered(api, image="python:3.12", services={"db": service}) == (403, "image_refused")
    assert len((await api.client.get("/jobs")).json()) == 5


async def test_the_image_of_an_upload_and_of_a_retry(start_api: StartApi) -> None:
    before = await start_api()
    job_id = await before.submit()
    await before.controller.start(job_id)
    await before.controller.finish(job_id)
    api = await start_api(allowed_images="python:3.*")
    upload = await api.upload(zipped(ci__yaml="image: node:20\nsteps: [{run: 'true'}]"))
    assert (upload.status_code, upload.json()["code"]) == (403, "image_refused")
    assert "CI_ALLOWED_IMAGES" in upload.json()["detail"]
    refused = await api.client.post(f"/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (403, "image_refused")
    assert list(api.data.incoming.iterdir()) == []


async def test_digests_that_are_demanded(start_api: StartApi) -> None:
    api = await start_api(require_digest="yes")
    assert await answered(api, image="python:3.12" + DIGEST) == (202, "None")
    assert await answered(api, image="python:3.12") == (403, "image_refused")
    assert await answered(api) == (403, "image_refused"), "the default image has none"
    pinned = {"image": "postgres" + DIGEST}
    assert await answered(api, image="python" + DIGEST, services={"db": pinned}) == (202, "None")
    assert await answered(api, image="python" + DIGEST, services={"db": {"image": "postgres"}}) == (
        403,
        "image_refused",
    )


@pytest.mark.parametrize("fields", [{"privileged": True}, {"volumes": ["/:/host"]}, {"devices": ["/dev/sda"]}])
async def test_a_spec_has_no_field_for_rights(api: Api, fields: dict[str, Any]) -> None:
    answer = await api.client.post("/jobs", json={"image": "python:3.12", "command": "true", **fields})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert next(iter(fields)) in answer.text


def test_what_is_no_pattern() -> None:
    with pytest.raises(SettingsError, match=r"CI_ALLOWED_IMAGES=.*is not a pattern for images"):
        Settings.from_env({"CI_ALLOWED_IMAGES": "python 3"})
