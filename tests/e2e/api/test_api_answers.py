"""What the API answers with, against the models that describe it."""

import json
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter

from ci_common.manifests.packs import compressed_text
from ci_common.wire.access.keys import IdentityView, KeyView, NewKeyView
from ci_common.wire.access.secrets import SecretView
from ci_common.wire.answers import (
    AboutView,
    BegunUploadView,
    CleanupView,
    JobView,
    JobWithLog,
    MetricsView,
    PendingCleanupView,
    PoolView,
    Shown,
    StatusView,
    StreamTicketView,
    SubmittedView,
    UploadView,
)
from ci_common.wire.live.events import StreamEvent
from ci_common.wire.problems import ProblemView
from ci_common.wire.results.index_answers import LogIndexView, LogTimesView
from ci_common.wire.results.record_answers import RecordView
from tests.helpers.http import read_stream
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api, zipped


def check(model: type[Shown], document: Any) -> None:
    """Compare a document with a model, which refuses missing and unknown fields."""
    model.model_validate(document)


async def test_a_job_in_all_its_states(api: Api) -> None:
    job_id = await api.submit(labels={"team": "a"}, retry={"max_attempts": 2})
    check(JobView, (await api.client.get(f"/jobs/{job_id}")).json())
    await api.controller.start(job_id)
    api.controller.write(job_id, b"first \xff\n")
    check(JobView, (await api.client.get(f"/jobs/{job_id}")).json())
    await api.controller.begin_anew(job_id, 1)
    check(JobView, (await api.client.get(f"/jobs/{job_id}")).json())
    await api.controller.start(job_id)
    api.controller.write(job_id, b"second\n")
    check(JobView, (await api.client.post(f"/jobs/{job_id}/cancel")).json())
    await api.controller.finish(job_id)
    check(JobWithLog, (await api.client.get(f"/jobs/{job_id}?include=log")).json())
    for document in (await api.client.get("/jobs")).json():
        check(JobView, document)
    check(RecordView, (await api.client.get(f"/jobs/{job_id}/record")).json())
    check(RecordView, (await api.client.get(f"/jobs/{job_id}/record?attempt=1&include=files")).json())
    check(LogIndexView, (await api.client.get(f"/jobs/{job_id}/log/index")).json())
    check(LogTimesView, (await api.client.get(f"/jobs/{job_id}/log/times")).json())
    check(StreamTicketView, (await api.client.post(f"/jobs/{job_id}/ticket")).json())
    check(JobView, (await api.client.post(f"/jobs/{job_id}/retry")).json())
    seen = await read_stream(api.client, f"/jobs/{job_id}/stream?from_beginning=true")
    kinds = {type(TypeAdapter(StreamEvent).validate_python(event)).__name__ for event in seen.events}
    assert kinds >= {"LogEvent", "AttemptEvent", "CompleteEvent"}


async def test_everything_else(api: Api) -> None:
    answers = {
        "/": AboutView,
        "/health": StatusView,
        "/ready": StatusView,
        "/pool": PoolView,
        "/metrics": MetricsView,
        "/jobs/cleanup": PendingCleanupView,
    }
    for path, model in answers.items():
        check(model, (await api.client.get(path, headers={"Accept": "application/json"})).json())
    uploaded = await api.upload(zipped(ci__yaml="command: 'true'"))
    check(SubmittedView, uploaded.json())
    begun = await api.client.post("/uploads", content=compressed_text(f"f 0 {sha256().hexdigest()} test_it.py\n"))
    check(BegunUploadView, begun.json())
    upload = f"/uploads/{begun.json()['upload_id']}"
    check(UploadView, (await api.client.get(upload)).json())
    check(UploadView, (await api.client.patch(f"{upload}?frame=0")).json())
    check(SubmittedView, (await api.client.post(f"{upload}/submit", json={})).json())
    check(CleanupView, (await api.client.post("/jobs/cleanup", json={"older_than": 0})).json())
    check(ProblemView, (await api.client.get("/jobs?colour=red")).json())


async def test_keys(api: Api) -> None:
    api.client.headers.update(bearing(await stored_key(api.controller.storage)))
    made = (await api.client.post("/keys", json={"name": "bob", "scopes": ["jobs:read"], "expires_in": "1d"})).json()
    check(NewKeyView, made)
    check(NewKeyView, (await api.client.post(f"/keys/{made['id']}/rotate")).json())
    check(IdentityView, (await api.client.get("/keys/own")).json())
    assert (await api.client.delete(f"/keys/{made['id']}")).status_code == 204
    check(KeyView, (await api.client.get(f"/keys/{made['id']}")).json())
    for document in (await api.client.get("/keys")).json():
        check(KeyView, document)
    api.client.headers.pop("authorization")
    check(ProblemView, (await api.client.get("/keys")).json())


async def test_secrets(api: Api) -> None:
    check(SecretView, (await api.client.put("/secrets/TOKEN", json={"reference": "env:TOKEN"})).json())
    for document in (await api.client.get("/secrets")).json():
        check(SecretView, document)
    assert (await api.client.delete("/secrets/TOKEN")).status_code == 204


async def test_the_description_is_served(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) >= {"/jobs", "/openapi.json", "/docs", "/schema/spec.json"}
    page = await api.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    schema = await api.client.get("/schema/spec.json")
    assert schema.headers["content-type"] == "application/schema+json"
    assert json.loads(schema.text)["properties"].keys() >= {"command", "steps", "limits"}


async def test_a_job_tells_the_images_of_its_services(api: Api) -> None:
    services = {"db": {"image": "postgres:16"}, "cache": {"image": "redis:7", "command": "redis-server"}}
    job_id = await api.submit(services=services)
    job = (await api.client.get(f"/jobs/{job_id}")).json()
    assert job["services"] == {"db": "postgres:16", "cache": "redis:7"}
    assert (await api.client.get("/jobs")).json()[0]["services"] == job["services"]
