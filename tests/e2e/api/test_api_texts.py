"""Text has one door: what cannot be carried on is refused with its path, and what is stored already stays readable."""

import json
from typing import Any

import pytest

from ci_common.errors import DatabaseUnavailable
from ci_common.jobs import NewJob, new_job_id
from ci_common.times import utc_now
from ci_persistence.storage import Storage
from ci_persistence.stores.jobs import JobStore
from tests.helpers.played_api import Api, zipped
from tests.helpers.service import paths, problem

FIELDS = {
    "command": "command: {}",
    "command.1": "command: [x, {}]",
    "steps.0.run": "steps: [run: {}]",
    "steps.0.name": "steps: [{{run: x, name: {}}}]",
    "env.A": "env: {{A: {}}}",
    "labels.a": "labels: {{a: {}}}",
    "project": "project: {}",
}
ESCAPES = [r"\ud800", r"\udfff", r"\u0000", r"\u001b", r"\u007f", r"\u009b", r"\u000d"]


@pytest.mark.parametrize("path", FIELDS)
async def test_fields_of_ci_yaml(api: Api, path: str) -> None:
    for escape in ESCAPES:
        text = FIELDS[path].format(f'"a{escape}b"')
        document = problem(await api.upload(zipped(ci__yaml=text)), 400)
        assert (document["code"], paths(document)) == ("invalid_request", [path]), text
        assert "line 1, column" in document["detail"]
    assert api.left_over() == []
    assert (await api.client.get("/jobs")).json() == []


BODIES: dict[str, Any] = {
    "command": {"command": "?"},
    "payload.command": {"payload": {"command": "?"}},
    "env.A": {"command": "x", "env": {"A": "?"}},
    "labels.a": {"command": "x", "labels": {"a": "?"}},
    "project": {"command": "x", "project": "?"},
    "payload.a.0.b": {"type": "echo", "payload": {"a": [{"b": "?"}]}},
    "payload": {"type": "echo", "payload": {"?": 1}},
    "type": {"type": "?"},
}


@pytest.mark.parametrize("path", BODIES)
async def test_fields_of_json(api: Api, path: str) -> None:
    for escape in ESCAPES:
        body = json.dumps(BODIES[path]).replace("?", escape)
        document = problem(await api.client.post("/jobs", content=body), 400)
        assert document["code"] == "invalid_request"
        # Half of a surrogate pair is no JSON, so that no field is known yet.
        assert escape in ESCAPES[:2] or paths(document) == [path]
    problem(await api.client.post("/jobs/cleanup", json={"keep": 1, "project": "a\0"}), 400)
    assert (await api.client.get("/jobs")).json() == []


async def test_lines_and_tabs_are_text(api: Api) -> None:
    body = {"command": "a\n\tb", "env": {"A": "a\n\tb"}}
    assert (await api.client.post("/jobs", json=body)).json()["payload"] == body
    body = {"type": "echo", "payload": {"a": "a\n\tb"}}
    assert (await api.client.post("/jobs", json=body)).status_code == 202


async def test_names_of_uploaded_files(api: Api) -> None:
    content = zipped(ci__yaml="command: x")
    for name in ("a\x1bb.zip", "a\x9bb.zip", "a\x7fb.zip", "x" * 2000):
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--x--\r\n'
        answer = await api.client.post(
            "/submit-async",
            content=body % (name.encode(), content),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        assert paths(problem(answer, 400)) == ["file"]
    assert api.left_over() == []


async def test_text_in_queries(api: Api) -> None:
    for parameter in ("q", "project", "type"):
        for character in ("%00", "%1b", "%7f", "%c2%9b"):
            document = problem(await api.client.get(f"/jobs?{parameter}=a{character}"), 400)
            assert paths(document) == [parameter]
    assert paths(problem(await api.client.get("/jobs?label=a:%00"), 400)) == ["label.0"]
    assert paths(problem(await api.client.get("/jobs?q=" + "a" * 1001), 400)) == ["q"]
    assert (await api.client.get("/jobs?q=" + "a" * 1000)).json() == []


async def test_instants_that_utc_has_not(api: Api) -> None:
    job_id = await api.submit()
    for instant in ("0001-01-01T00:00:00%2B01:00", "9999-12-31T23:59:59-01:00"):
        for path in (f"/jobs?since={instant}", f"/jobs?before={instant}", f"/jobs/{job_id}/stream?since={instant}"):
            assert paths(problem(await api.client.get(path), 400)) == [path.partition("?")[2].partition("=")[0]]
    assert (await api.client.get("/jobs?since=0001-01-01T00:00:00Z&before=9999-12-31T23:59:59Z")).status_code == 200


async def test_fractions_of_variables_in_json(api: Api) -> None:
    for body in ('{"command": "x", "env": {"V": 3.10}}', '{"payload": {"command": "x", "env": {"V": 3.10}}}'):
        job_id = (await api.client.post("/jobs", content=body)).json()["job_id"]
        plan = (await api.controller.storage.jobs.get(job_id)).plan
        assert plan is not None
        assert plan["env"] == {"V": "3.10"}
    job_id = (await api.upload(zipped(ci__yaml="command: x"), data={"spec": '{"env": {"V": 3.10}}'})).json()["job_id"]
    assert ((await api.controller.storage.jobs.get(job_id)).plan or {})["env"] == {"V": "3.10"}


async def test_what_yaml_and_request_say_together(api: Api) -> None:
    labels = "\n".join(f"  l{number}: x" for number in range(64))
    answer = await api.upload(
        zipped(ci__yaml=f"command: x\nlabels:\n{labels}"), data={"spec": '{"labels": {"o": "x"}}'}
    )
    document = problem(answer, 400)
    assert (document["code"], paths(document)) == ("invalid_request", ["labels"])


async def test_jobs_that_were_stored_with_such_text_stay_readable(api: Api) -> None:
    text = "\ud800"
    plan = {"image": "x", "steps": [{"name": text, "shell": text}], "timeout": 1}
    stored = NewJob(
        id=new_job_id(),
        type="container",
        submit_time=utc_now(),
        payload={text: text},
        labels={text: text},
        project=None,
        plan=plan,
    )
    await api.controller.storage.jobs.add(stored, max_queued=10)
    for path in ("/jobs", f"/jobs/{stored.id}"):
        assert text in json.dumps((await api.client.get(path)).json(), ensure_ascii=False)
    await api.controller.cancel(stored.id)
    assert (await api.client.get(f"/jobs/{stored.id}/stream?from_beginning=true")).status_code == 200
    assert (await api.client.post(f"/jobs/{stored.id}/retry")).status_code == 202
    assert (await api.client.delete(f"/jobs/{stored.id}")).status_code == 204


async def test_the_databases_errors_stay_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = str(api.settings.db_path)

    async def fail(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable(f"the database {secret} cannot be used: disk I/O error")

    for owner, method in ((JobStore, "list_jobs"), (Storage, "ping"), (JobStore, "get")):
        monkeypatch.setattr(owner, method, fail)
    for path in ("/jobs", "/ready", f"/jobs/{new_job_id()}"):
        answer = await api.client.get(path)
        problem(answer, 503)
        assert secret not in answer.text
        assert "I/O" not in answer.text
    assert secret in caplog.text
