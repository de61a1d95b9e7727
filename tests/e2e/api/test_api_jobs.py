"""Submitting, cancelling and retrying over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci_common.jobs import ReasonCode, new_job_id
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Disk
from tests.helpers.machine import PlayedUsage
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import paths, problem

PYTHON = zipped(test_a__py="def test(): pass")


async def test_a_container_job(api: Api) -> None:
    body = {
        "image": "busybox",
        "steps": [{"run": "true"}],
        "timeout": "2m",
        "env": {"API_TOKEN": "s3cret"},
        "priority": 7,
        "project": "p",
        "labels": {"a": "b"},
    }
    answer = await api.client.post("/jobs", json=body)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['job_id']}"
    assert (job["type"], job["status"], job["priority"], job["project"], job["labels"]) == (
        "container", "queued", 7, "p", {"a": "b"},
    )  # fmt: skip
    assert job["reason"]["code"] == ReasonCode.WAITING_FOR_CONTROLLER
    assert job["payload"] == body | {"env": {"API_TOKEN": "***"}}
    assert "s3cret" not in (await api.client.get(f"/jobs/{job['job_id']}")).text
    plan = ExecutionPlan.model_validate((await api.controller.storage.jobs.get(job["job_id"])).plan)
    assert (plan.timeout, plan.env, plan.image) == (120, {"API_TOKEN": "s3cret"}, "busybox")


async def test_a_container_job_below_payload(api: Api) -> None:
    body = {"type": "container", "payload": {"image": "busybox", "command": ["echo", "x"]}, "priority": 3}
    job = (await api.client.post("/jobs", json=body)).json()
    assert job["priority"] == 3
    assert job["payload"]["command"] == ["echo", "x"]


INVALID_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"image": "busybox"}, "command"),
    ({"image": "Not An Image", "command": "x"}, "image"),
    ({"command": "x", "limits": {"memory": "lots"}}, "limits.memory"),
    ({"command": "x", "colour": "red"}, "colour"),
    ({"command": "x", "limits": {"colour": "red"}}, "limits.colour"),
    ({"payload": {"command": "x", "colour": "red"}}, "payload.colour"),
    ({"payload": {"command": "x"}, "command": "y"}, "command"),
    ({"payload": [], "command": "y"}, "payload"),
    ({"command": "x", "steps": [{"run": "y"}]}, ""),
    ({"steps": [{"run": "x"}, {"name": "y"}]}, "steps.1.run"),
    ({"type": "script.pull"}, "type"),
    ({"type": ["container"]}, "type"),
    ({"type": "sleep", "payload": {"ms": -1}}, "payload.ms"),
    ({"type": "sleep"}, "payload.ms"),
    ({"type": "echo", "payload": "text"}, "payload"),
    ({"type": "echo", "image": "x"}, "image"),
    ({"command": "x", "env": {"A-B": "x"}}, "env"),
]


async def test_bodies_that_are_not_valid(api: Api) -> None:
    for body, path in INVALID_BODIES:
        assert path in paths(problem(await api.client.post("/jobs", json=body), 400)), body
    assert (await api.client.get("/jobs")).json() == []


async def test_an_unknown_type_is_told_which_there_are(api: Api) -> None:
    detail = problem(await api.client.post("/jobs", json={"type": "nope"}), 400)["detail"]
    assert all(name in detail for name in ("nope", "container", "echo", "sleep"))


async def test_bodies_that_are_no_json_object(api: Api) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"a": NaN}',
        b'{"type": "echo", "payload": {"a": -1E+999}}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
    ):
        problem(await api.client.post("/jobs", content=body), 400)


async def test_a_body_that_is_too_large(api: Api) -> None:
    body = json.dumps({"command": "x" * (1024 * 1024)}).encode()
    assert problem(await api.client.post("/jobs", content=body), 413)["code"] == "too_large"


async def test_builtin_jobs(api: Api) -> None:
    echo = (await api.client.post("/jobs", json={"type": "echo", "payload": {"x": [1, "é"]}})).json()
    sleep = (await api.client.post("/jobs", json={"type": "sleep", "payload": {"ms": 5}, "priority": -1})).json()
    assert (echo["type"], echo["payload"]) == ("echo", {"x": [1, "é"]})
    assert (sleep["type"], sleep["payload"], sleep["priority"]) == ("sleep", {"ms": 5}, -1)
    assert (await api.controller.storage.jobs.get(echo["job_id"])).plan is None


async def test_a_full_queue(start_api: StartApi) -> None:
    api = await start_api(max_queued=1)
    await api.submit()
    answer = await api.client.post("/jobs", json={"command": "x"})
    assert problem(answer, 429)["code"] == "queue_full"
    assert int(answer.headers["retry-after"]) > 0
    problem(await api.upload(PYTHON), 429)
    assert api.left_over() == []


async def test_no_such_job(api: Api) -> None:
    for job_id in (new_job_id(), "nonsense", new_job_id().upper(), "%00", "é"):
        for path in ("", "/stream", "/log"):
            assert problem(await api.client.get(f"/jobs/{job_id}{path}"), 404)["code"] == "job_not_found"
        for path in ("/cancel", "/retry"):
            problem(await api.client.post(f"/jobs/{job_id}{path}"), 404)


async def test_no_such_route_and_no_such_method(api: Api) -> None:
    assert problem(await api.client.get("/nowhere"), 404)["code"] == "not_found"
    answer = await api.client.put("/jobs")
    assert problem(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_head_where_get_is(api: Api) -> None:
    job_id = await api.submit()
    for path in ("/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/log", f"/jobs/{job_id}/stream", "/health", "/ready"):
        answer = await api.client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path


async def test_unknown_parameters_are_refused_everywhere(api: Api) -> None:
    job_id = await api.submit()
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/log", f"/jobs/{job_id}/stream", "/health", "/ready"):
        assert paths(problem(await api.client.get(f"{path}?colour=red"), 400)) == ["colour"]
    for path in (f"/jobs/{job_id}/cancel", f"/jobs/{job_id}/retry", "/jobs", "/submit-async"):
        assert paths(problem(await api.client.post(f"{path}?colour=red"), 400)) == ["colour"]


async def test_a_running_job_shows_its_log_and_steps(api: Api) -> None:
    job_id = await api.submit()
    run = await api.controller.start(job_id)
    api.controller.write(job_id, ("x" * 70_000 + "ä\nend\n").encode())
    run.steps.write_text('{"step":0,"event":"start","uptime":"100.5","offset":"0"}\n')
    job = (await api.client.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["log_bytes"], job["log_sha256"]) == ("running", 70_007, None)
    assert [(step["name"], step["status"], step["log_offset"]) for step in job["steps"]] == [("command", "running", 0)]
    excerpt = (await api.client.get(f"/jobs/{job_id}?include=log")).json()["log"]
    assert len(excerpt.encode()) == 64 * 1024
    assert excerpt.endswith("xä\nend\n")
    await api.controller.finish(job_id)
    assert (await api.client.get(f"/jobs/{job_id}?include=log")).json()["log"] == excerpt


async def test_cancelling(api: Api) -> None:
    job_id = await api.submit()
    first = await api.client.post(f"/jobs/{job_id}/cancel")
    again = await api.client.post(f"/jobs/{job_id}/cancel")
    assert first.status_code == again.status_code == 202
    assert first.json()["cancel_requested_time"] == again.json()["cancel_requested_time"] is not None
    await api.controller.cancel(job_id)
    assert problem(await api.client.post(f"/jobs/{job_id}/cancel"), 409)["code"] == "job_completed"


async def test_retrying_an_upload(api: Api) -> None:
    job_id = (await api.upload(PYTHON, data={"spec": '{"priority": 4, "env": {"TOKEN": "x"}}'})).json()["job_id"]
    assert problem(await api.client.post(f"/jobs/{job_id}/retry"), 409)["code"] == "not_retryable"
    await api.controller.start(job_id)
    await api.controller.finish(job_id, exit_code=1)
    answer = await api.client.post(f"/jobs/{job_id}/retry")
    assert answer.status_code == 202
    again = answer.json()
    assert again["retry_of"] == job_id != again["job_id"]
    old, new = await api.controller.storage.jobs.get(job_id), await api.controller.storage.jobs.get(again["job_id"])
    assert (new.plan, new.payload, new.priority, new.has_upload) == (old.plan, old.payload, 4, True)
    assert api.data.upload(new.id).samefile(api.data.upload(old.id))
    assert (api.data.run(new.id, 1).workspace / "test_a.py").read_text() == "def test(): pass"
    api.data.upload(job_id).unlink()
    api.data.upload(new.id).unlink()
    await api.controller.cancel(new.id)
    assert problem(await api.client.post(f"/jobs/{new.id}/retry"), 409)["code"] == "not_retryable"
    assert list(api.data.incoming.iterdir()) == []


async def test_retrying_a_command(api: Api) -> None:
    job_id = await api.submit("echo hi")
    await api.controller.cancel(job_id)
    again = (await api.client.post(f"/jobs/{job_id}/retry")).json()
    assert (again["retry_of"], again["payload"]["command"], again["status"]) == (job_id, "echo hi", "queued")


async def test_retrying_with_changes(api: Api) -> None:
    upload = {"spec": '{"env": {"A": "1", "TOKEN": "x"}, "limits": {"pids": 9}, "labels": {"a": "1"}}'}
    job_id = (await api.upload(PYTHON, data=upload)).json()["job_id"]
    await api.controller.cancel(job_id)
    changes = {
        "image": "busybox:1",
        "command": ["a", "b"],
        "env": {"B": 1.50, "TOKEN": "secret"},
        "timeout": "2m",
        "limits": {"memory": "1m"},
        "retry": {"max_attempts": 2},
        "labels": {"b": "2"},
        "priority": 3,
        "network": False,
    }
    answer = await api.client.post(f"/jobs/{job_id}/retry", json=changes)
    again = answer.json()
    assert (answer.status_code, again["retry_of"], again["image"]) == (202, job_id, "busybox:1")
    assert again["payload"]["env"] == {"A": "1", "B": "1.5", "TOKEN": "***"}
    assert again["payload"]["command"] == ["a", "b"]
    old, new = await api.controller.storage.jobs.get(job_id), await api.controller.storage.jobs.get(again["job_id"])
    assert (new.priority, new.labels, new.max_attempts, new.image) == (3, {"a": "1", "b": "2"}, 2, "busybox:1")
    before, after = ExecutionPlan.model_validate(old.plan), ExecutionPlan.model_validate(new.plan)
    prepared = before.setup.steps if before.setup else 0
    assert after.steps[:prepared] == before.steps[:prepared]
    assert [step.argv for step in after.steps[prepared:]] == [("a", "b")]
    assert after.env | {"B": "1.5", "TOKEN": "secret"} == before.env | after.env == after.env
    assert (after.timeout, after.limits.memory, after.limits.pids, after.network) == (120, 2**20, 9, False)
    assert (after.limits.log, after.directory) == (before.limits.log, before.directory)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"colour": "red"}, "colour"),
        ({"image": "No Image"}, "image"),
        ({"limits": {"log": "100000g"}}, "limits.log"),
        ({"env": {"A": "a\0"}}, "env.A"),
        ({"retry": {"on": ["succeeded"]}}, "retry.on.0"),
        ({"steps": []}, "steps"),
    ],
)
async def test_changes_that_are_not_valid(api: Api, changes: dict[str, Any], path: str) -> None:
    job_id = await api.submit("echo hi")
    await api.controller.cancel(job_id)
    refused = problem(await api.client.post(f"/jobs/{job_id}/retry", json=changes), 400)
    assert [error["path"] for error in refused["errors"]] == [path]


async def test_a_computed_job_has_no_image_to_change(api: Api) -> None:
    job_id = (await api.client.post("/jobs", json={"type": "echo", "payload": {"a": 1}})).json()["job_id"]
    await api.controller.cancel(job_id)
    refused = problem(await api.client.post(f"/jobs/{job_id}/retry", json={"image": "busybox"}), 409)
    assert refused["code"] == "not_retryable"
    again = (await api.client.post(f"/jobs/{job_id}/retry", json={"priority": 5})).json()
    assert (again["priority"], again["payload"]) == (5, {"a": 1})


async def test_a_page_of_another_site_cannot_start_jobs(api: Api) -> None:
    body = {"command": "x"}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert problem(await api.client.post("/jobs", json=body, headers=headers), 403)["code"] == "cross_site"
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": api.url}, {}):
        assert (await api.client.post("/jobs", json=body, headers=headers)).status_code == 202


async def test_a_bug_is_logged_under_the_id_that_the_answer_carries(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("ci_server.jobs.list_endpoints.job_documents", fail)
    document = problem(await api.client.get("/jobs"), 500)
    assert "secret" not in json.dumps(document)
    assert document["error_id"] in caplog.text
    assert "a secret detail" in caplog.text


async def test_the_request_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ci_server.requests")
    job_id = await api.submit()
    await api.client.get("/jobs/x%0Ay")
    lines = [record.getMessage() for record in caplog.records if record.name == "ci_server.requests"]
    assert lines[0].startswith("POST /jobs 202 ")
    assert lines[0].endswith(f"ms job={job_id} from=127.0.0.1")
    assert lines[1].startswith("GET /jobs/x%0Ay 404 ")
    assert "\n" not in lines[1]


async def test_readiness_names_the_part_that_fails(start_api: StartApi, tmp_path: Path) -> None:
    free = 1000
    api = await start_api(
        disk=Disk([tmp_path], min_free_bytes=10, min_free_percent=5, usage=lambda _: PlayedUsage(1000, free))
    )
    assert (await api.client.get("/ready")).json() == {"status": "ok"}
    api.data.incoming.rmdir()
    assert paths(problem(await api.client.get("/ready"), 503)) == ["data_directory"]
    api.data.incoming.mkdir()
    free = 9
    document = problem(await api.client.get("/ready"), 503)
    assert paths(document) == ["disk"]
    assert "only 9 bytes are free" in document["errors"][0]["message"]


async def test_a_newer_job_takes_the_place_of_others_of_its_group(api: Api) -> None:
    older = await api.submit(concurrency={"group": "deploy"})
    other = await api.submit(concurrency={"group": "deploy"}, project="other")
    spec = '{"concurrency": {"group": "deploy", "cancel_running": true}}'
    newer = (await api.upload(PYTHON, data={"spec": spec})).json()["job_id"]
    shown = {job_id: (await api.client.get(f"/jobs/{job_id}")).json() for job_id in (older, other, newer)}
    assert shown[newer]["concurrency"] == {"group": "deploy", "cancel_running": True}
    assert [shown[job_id]["cancel_requested_time"] is None for job_id in (older, other, newer)] == [False, True, True]
    await api.controller.cancel(newer)
    again = (await api.client.post(f"/jobs/{newer}/retry")).json()
    assert again["concurrency"] == shown[newer]["concurrency"]


async def test_ci_yaml_names_a_group(api: Api) -> None:
    files = {"ci.yaml": "command: 'true'\nconcurrency: {group: 1.0}\n"}
    job_id = (await api.upload(zipped(**files))).json()["job_id"]
    assert (await api.client.get(f"/jobs/{job_id}")).json()["concurrency"] == {"group": "1.0", "cancel_running": False}


@pytest.mark.parametrize(
    ("concurrency", "path"),
    [("deploy", "concurrency"), ({}, "concurrency.group"), ({"group": ""}, "concurrency.group")],
)
async def test_a_group_that_is_not_valid_is_refused(api: Api, concurrency: object, path: str) -> None:
    refused = await api.client.post("/jobs", json={"command": "true", "concurrency": concurrency})
    assert [error["path"] for error in problem(refused, 400)["errors"]] == [path]
