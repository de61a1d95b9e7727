"""Projects over HTTP: created, changed, removed; and what their settings do to jobs."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from ci_common.access.identity import SCOPES_OF, Role, Scope
from tests.helpers.keys import a_key, bearing, stored_key
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem


@pytest.fixture
async def admin(api: Api) -> None:
    """Have the client of the server send a key that may do everything."""
    api.client.headers.update(bearing(await stored_key(api.controller.storage)))


async def created(api: Api, name: str = "website", **fields: Any) -> dict[str, Any]:
    answer = await api.client.post("/projects", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/projects/{name}"
    return dict(answer.json())


async def changed(api: Api, name: str = "website", **fields: Any) -> httpx.Response:
    return await api.client.patch(f"/projects/{name}", json=fields)


async def plan_of(api: Api, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    plan = (await api.controller.storage.jobs.get(answer.json()["job_id"])).plan
    assert plan is not None
    return plan


async def test_a_project_is_created_changed_and_removed(api: Api) -> None:
    project = await created(api, description="The web site.", images=["python:3.*"], retention={"completed": "7d"})
    assert project["retention"] == {"completed": 604_800.0, "failed": None, "uploads": None, "jobs": None}
    assert (await api.client.get("/projects/website")).json() == project
    assert [each["name"] for each in (await api.client.get("/projects")).json()] == ["website"]
    assert problem(await api.client.post("/projects", json={"name": "website"}), 409)["code"] == "project_conflict"

    answer = await changed(api, images=None, retention={"failed": "forever", "jobs": 5}, defaults={"timeout": "20m"})
    after = answer.json()
    assert answer.status_code == 200, answer.text
    assert (after["images"], after["defaults"], after["description"]) == (None, {"timeout": 1200.0}, "The web site.")
    assert after["retention"] == {"completed": 604_800.0, "failed": "forever", "uploads": None, "jobs": 5}
    assert (await changed(api, retention={"completed": None})).json()["retention"]["completed"] is None
    assert (await changed(api, retention=None)).json()["retention"]["jobs"] is None
    assert (await api.client.get("/projects/website")).json()["retention"]["jobs"] is None

    assert (await api.client.delete("/projects/website")).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = await api.client.request(method, "/projects/website", json={} if method == "PATCH" else None)
        assert problem(answer, 404)["code"] == "project_not_found"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": ".."}, "name"),
        ({"images": ["python 3"]}, "images"),
        ({"images": "python"}, "images"),
        ({"defaults": {"project": "other"}}, "defaults"),
        ({"defaults": {"timout": "1m"}}, "defaults.timout"),
        ({"defaults": {"env": {"A": "x" * 20_000}}}, "defaults"),
        ({"retention": {"completed": "soon"}}, "retention.completed"),
        ({"retention": {"completed": 0}}, "retention.completed"),
        ({"retention": {"jobs": 0}}, "retention.jobs"),
        ({"retention": {"jobs": True}}, "retention.jobs"),
        ({"color": "red"}, "color"),
    ],
)
async def test_what_is_wrong_is_said(api: Api, fields: dict[str, Any], path: str) -> None:
    refused = await api.client.post("/projects", json={"name": "website", **fields})
    assert problem(refused, 400)["errors"][0]["path"].startswith(path)


async def test_secrets_in_defaults_are_masked(api: Api) -> None:
    assert (await created(api, defaults={"env": {"API_TOKEN": "hunter2"}}))["defaults"] == {"env": {"API_TOKEN": "***"}}
    plan = await plan_of(api, await api.client.post("/jobs", json={"command": "true", "project": "website"}))
    assert plan["env"] == {"API_TOKEN": "hunter2"}


async def test_the_request_wins_over_the_file_and_the_file_over_the_defaults_of_the_project(api: Api) -> None:
    defaults = {
        "timeout": "3m", "image": "busybox", "stop_grace": "3s",
        "env": {"A": "project", "B": "project", "C": "project"}, "limits": {"memory": "1g", "cpus": 1},
    }  # fmt: skip
    await created(api, defaults=defaults)
    archive = zipped(ci__yaml="command: 'true'\nimage: alpine\nproject: website\nenv: {B: file, C: file}\n")
    spec = {"env": {"C": "request"}, "limits": {"memory": "2g"}, "timeout": "1m"}
    plan = await plan_of(api, await api.upload(archive, data={"spec": json.dumps(spec)}))
    assert plan["env"] == {"A": "project", "B": "file", "C": "request"}
    assert (plan["timeout"], plan["image"], plan["stop_grace"]) == (60.0, "alpine", 3.0)
    assert (plan["limits"]["memory"], plan["limits"]["cpus"]) == (2 * 1024**3, 1.0)

    of_another = await plan_of(api, await api.upload(zipped(ci__yaml="command: 'true'")))
    assert (of_another["env"], of_another["timeout"]) == ({}, api.settings.default_timeout)
    without_file = await plan_of(api, await api.client.post("/jobs", json={"command": "true", "project": "website"}))
    assert (without_file["timeout"], without_file["image"]) == (180.0, "busybox")


@pytest.mark.usefixtures("admin")
async def test_the_project_of_a_key_gives_its_defaults_to_jobs_that_name_none(api: Api) -> None:
    await created(api, defaults={"command": "echo default"})
    key = bearing(await stored_key(api.controller.storage, role=Role.DEVELOPER, projects=frozenset({"website"})))
    for answer in (
        await api.client.post("/jobs", json={}, headers=key),
        await api.upload(zipped(README="nothing to run"), headers=key),
    ):
        assert (await plan_of(api, answer))["steps"][0]["shell"] == "echo default"


async def test_only_allowed_images_run(api: Api) -> None:
    await created(api, images=["python:3.*", "ghcr.io/team/*"])

    async def tried(**fields: Any) -> httpx.Response:
        return await api.client.post("/jobs", json={"command": "true", "project": "website", **fields})

    for image in ("python:3.12-slim", "docker.io/library/python:3.9", "ghcr.io/team/deep/app:1"):
        assert (await tried(image=image)).status_code == 202, image
    for fields in (
        {"image": "python:2.7"},
        {"image": "evil.example/python:3.12"},
        {"image": "python:3.12", "services": {"db": {"image": "postgres"}}},
    ):
        refused = problem(await tried(**fields), 403)
        assert refused["code"] == "image_refused"
        assert "python:3.*, ghcr.io/team/*" in refused["detail"]
    upload = await api.upload(zipped(ci__yaml="command: 'true'\nimage: node\nproject: website"))
    assert problem(upload, 403)["code"] == "image_refused"
    assert len(api.left_over()) == 0

    job_id = (await tried(image="python:3.12")).json()["job_id"]
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    refused = await api.client.post(f"/jobs/{job_id}/retry", json={"image": "node"})
    assert problem(refused, 403)["code"] == "image_refused"
    await changed(api, images=[])
    refused = await api.client.post(f"/jobs/{job_id}/retry")
    assert problem(refused, 403)["detail"].endswith("it allows none")


async def test_projects_may_have_to_be_created_first(start_api: StartApi) -> None:
    api: Api = await start_api(projects="declared")
    body = {"type": "echo", "project": "website"}
    refused = problem(await api.client.post("/jobs", json=body), 403)
    assert (refused["code"], "ci projects create website" in refused["detail"]) == ("project_refused", True)
    assert problem(await api.client.post("/uploads", params={"project": "website"}, content=b""), 403)
    await created(api)
    assert (await api.client.post("/jobs", json=body)).status_code == 202
    assert (await api.client.post("/jobs", json={"type": "echo"})).status_code == 202


@pytest.mark.usefixtures("admin")
async def test_an_administrator_of_a_project_does_not_change_what_restricts_it(api: Api) -> None:
    await created(api, images=["python:3.*"])
    key = bearing(await stored_key(api.controller.storage, role=Role.ADMIN, projects=frozenset({"website"})))
    refused = await api.client.patch("/projects/website", json={"images": None}, headers=key)
    assert problem(refused, 403)["code"] == "scope_missing"
    allowed = await api.client.patch("/projects/website", json={"defaults": {"timeout": "1m"}}, headers=key)
    assert allowed.json()["defaults"] == {"timeout": 60.0}
    assert problem(await api.client.delete("/projects/website", headers=key), 403)["code"] == "scope_missing"


async def test_quotas_are_shown_with_what_is_used(start_api: StartApi) -> None:
    api: Api = await start_api(quota_running="7", quota_stored="1g,website=2g")
    project = await created(api, quotas={"queued": 3, "stored": "10m"})
    assert project["quotas"] == {
        "queued": {"own": 3, "limit": 3, "used": 0},
        "running": {"own": None, "limit": 7, "used": 0},
        "stored": {"own": 10 * 1024**2, "limit": 10 * 1024**2, "used": 0},
        "uploads": {"own": None, "limit": None, "used": 0},
        "streams": {"own": None, "limit": None, "used": 0},
    }
    await api.submit(project="website")
    started = await api.submit(project="website")
    await api.controller.start(started)
    archive = zipped(ci__yaml="command: 'true'\nproject: website")
    assert (await api.upload(archive)).status_code == 202
    after = (await changed(api, quotas={"stored": None, "queued": "unlimited"})).json()["quotas"]
    assert (after["queued"], after["running"]["used"]) == ({"own": "unlimited", "limit": None, "used": 2}, 1)
    assert after["stored"] == {"own": None, "limit": 2 * 1024**3, "used": len(archive)}
    listed = (await api.client.get("/projects")).json()[0]["quotas"]
    assert listed["queued"] == {"own": "unlimited", "limit": None, "used": None}


async def test_a_submission_beyond_a_quota_is_refused_with_what_is_used(api: Api) -> None:
    await created(api, quotas={"queued": 2})
    body = {"type": "echo", "project": "website"}
    answers = await asyncio.gather(*(api.client.post("/jobs", json=body) for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [202] * 2 + [429] * 14
    refused = next(answer for answer in answers if answer.status_code == 429)
    told = problem(refused, 429)
    assert (told["code"], told["quota"], told["quota_of"], told["limit"], told["used"]) == (
        "quota_exceeded", "queued", "project", 2, 2,
    )  # fmt: skip
    assert int(refused.headers["retry-after"]) > 0
    upload = await api.upload(zipped(ci__yaml="command: 'true'\nproject: website"))
    assert problem(upload, 429)["quota"] == "queued"
    assert api.left_over() == []
    assert problem(await api.client.post("/uploads", params={"project": "website"}, content=b""), 429)


async def test_an_owner_has_quotas_by_the_settings_and_is_refused_before_the_body_is_read(start_api: StartApi) -> None:
    api: Api = await start_api(quota_owner_queued="1")
    await api.submit()
    head = "POST /submit-async HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    writer.write(f"{head}Content-Length: 1000\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"429"
    writer.close()
    told = problem(await api.upload(zipped(README="x")), 429)
    assert (told["quota"], told["quota_of"]) == ("queued", "owner")


async def key_of(api: Api, **fields: Any) -> dict[str, str]:
    return bearing(await stored_key(api.controller.storage, **fields))


async def member(api: Api, owner: str, role: str, project: str = "website") -> httpx.Response:
    return await api.client.put(f"/projects/{project}/members/{owner}", json={"role": role})


@pytest.mark.usefixtures("admin")
async def test_members_are_added_changed_and_removed(api: Api) -> None:
    await created(api)
    added = (await member(api, "bob", "viewer")).json()
    assert (added["owner"], added["role"], added["created_by"]) == ("bob", "viewer", "alice")
    assert (await member(api, "bob", "developer")).json()["role"] == "developer"
    assert (await member(api, "repo:team/app", "viewer")).status_code == 200
    listed = (await api.client.get("/projects/website/members")).json()
    assert [(each["owner"], each["role"]) for each in listed] == [("bob", "developer"), ("repo:team/app", "viewer")]
    assert (await api.client.get("/projects/website/members/repo:team/app")).json() == listed[1]

    for role in ("member", "owner", None):
        refused = await api.client.put("/projects/website/members/bob", json={"role": role})
        assert problem(refused, 400)["errors"][0]["path"] == "role"
    assert problem(await member(api, "x" * 201, "viewer"), 400)["errors"][0]["path"] == "owner"
    assert problem(await member(api, "bob", "viewer", "absent"), 404)["code"] == "project_not_found"
    assert (await api.client.delete("/projects/website/members/bob")).status_code == 204
    for method in ("GET", "DELETE"):
        answer = await api.client.request(method, "/projects/website/members/bob")
        assert problem(answer, 404)["code"] == "member_not_found"
    await api.client.delete("/projects/website")
    await created(api)
    assert (await api.client.get("/projects/website/members")).json() == []


@pytest.mark.usefixtures("admin")
async def test_a_membership_counts_besides_the_role_of_the_key(api: Api) -> None:
    await created(api)
    await created(api, "other")
    seen = await api.submit(project="website")
    hidden = await api.submit(project="other")
    viewer = await key_of(api, owner="bob", role=Role.VIEWER)
    members_key = await key_of(api, owner="bob", role=Role.MEMBER)
    for key in (viewer, members_key):
        assert problem(await api.client.post(f"/jobs/{seen}/cancel", headers=key), 403)["code"] == "scope_missing"
    assert problem(await api.client.get("/jobs", headers=members_key), 403)["code"] == "scope_missing"

    await member(api, "bob", "developer")
    assert (await api.client.get("/keys/own", headers=members_key)).json()["memberships"] == {"website": "developer"}
    assert [job["job_id"] for job in (await api.client.get("/jobs", headers=members_key)).json()] == [seen]
    assert len((await api.client.get("/jobs", headers=viewer)).json()) == 2
    assert problem(await api.client.get(f"/jobs/{hidden}", headers=members_key), 404)["code"] == "job_not_found"
    assert problem(await api.client.post(f"/jobs/{hidden}/cancel", headers=viewer), 403)["code"] == "scope_missing"
    assert problem(await api.client.post(f"/jobs/{hidden}/cancel", headers=members_key), 404)["code"] == "job_not_found"
    for key in (viewer, members_key):
        job = (await api.client.post("/jobs", json={"type": "echo"}, headers=key)).json()
        assert job["project"] == "website"
        refused = await api.client.post("/jobs", json={"type": "echo", "project": "other"}, headers=key)
        assert problem(refused, 403)["code"] == "project_refused"
    assert (await api.client.post(f"/jobs/{seen}/cancel", headers=members_key)).status_code == 202

    await api.client.delete("/projects/website/members/bob")
    assert problem(await api.client.get("/jobs", headers=members_key), 403)["code"] == "scope_missing"


@pytest.mark.usefixtures("admin")
async def test_a_key_that_is_limited_gets_nothing_by_membership_that_its_limits_do_not_allow(api: Api) -> None:
    for name in ("website", "other"):
        await created(api, name)
        await member(api, "bob", "admin", name)
    by_scope = await key_of(api, owner="bob", scopes=frozenset({Scope.JOBS_READ}))
    by_project = await key_of(api, owner="bob", role=Role.VIEWER, projects=frozenset({"website"}))
    both = await key_of(api, owner="bob", role=Role.MEMBER, projects=frozenset({"website"}))
    body = {"type": "echo", "project": "website"}
    for key in (by_scope, by_project):
        assert problem(await api.client.post("/jobs", json=body, headers=key), 403)["code"] == "scope_missing"
    assert (await api.client.post("/jobs", json=body, headers=both)).status_code == 202
    refused = await api.client.post("/jobs", json={**body, "project": "other"}, headers=both)
    assert problem(refused, 403)["code"] == "project_refused"


@pytest.mark.usefixtures("admin")
async def test_who_is_no_administrator_of_a_project_does_not_change_its_members(api: Api) -> None:
    await created(api)
    await member(api, "bob", "admin")
    await member(api, "carol", "operator")
    bob, carol = await key_of(api, owner="bob", role=Role.MEMBER), await key_of(api, owner="carol", role=Role.MEMBER)
    path = "/projects/website/members/dave"
    assert (await api.client.put(path, json={"role": "admin"}, headers=bob)).status_code == 200
    assert problem(await api.client.put(path, json={"role": "viewer"}, headers=carol), 403)["code"] == "scope_missing"
    assert (await api.client.get("/projects/website/members", headers=carol)).status_code == 200
    few = await key_of(api, scopes=frozenset({Scope.PROJECTS_ADMIN, Scope.PROJECTS_READ}))
    refused = await api.client.put(path, json={"role": "viewer"}, headers=few)
    assert "lacks" in problem(refused, 403)["detail"]
    assert problem(await api.client.delete(path, headers=few), 403)["code"] == "scope_missing"


@pytest.mark.usefixtures("admin")
async def test_no_key_is_made_or_rotated_that_may_do_more_by_membership(api: Api) -> None:
    await created(api)
    await member(api, "bob", "admin")
    scopes = frozenset({*SCOPES_OF[Role.VIEWER], Scope.KEYS_ADMIN})
    few = await key_of(api, owner="eve", scopes=scopes)
    for role in ("member", "viewer"):
        refused = await api.client.post("/keys", json={"name": "x", "role": role, "owner": "bob"}, headers=few)
        assert "is a member of projects" in problem(refused, 403)["detail"]
    own = await api.client.post("/keys", json={"name": "x", "role": "viewer"}, headers=few)
    assert own.status_code == 201
    key, _ = a_key(owner="bob", role=Role.MEMBER)
    await api.controller.storage.keys.add(key)
    refused = await api.client.post(f"/keys/{key.id}/rotate", headers=few)
    assert problem(refused, 404)["code"] == "key_not_found"
    assert key.id not in {each["id"] for each in (await api.client.get("/keys", headers=few)).json()}

    bob = await key_of(api, owner="bob", role=Role.MEMBER)
    made = await api.client.post("/keys", json={"name": "bot", "role": "developer"}, headers=bob)
    assert (made.json()["owner"], made.json()["projects"]) == ("bob", ["website"])
