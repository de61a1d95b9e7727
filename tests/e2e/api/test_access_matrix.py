"""Who may do what, generated from the table of endpoints: every route, every role, every project.

A key holds for all projects or for one, and what a request names belongs to that project, to another one, or to none.
"""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest

from ci_common.access.identity import SCOPES_OF, Role, Scope
from ci_common.access.keys import new_secret
from ci_common.environments import Environment
from ci_common.jobs import NewJob, new_job_id
from ci_common.manifests.packs import compressed_text
from ci_common.secrets.stored import StoredSecret
from ci_common.sharing.projects import Member, Project
from ci_common.spec_parts.caches import StoredCache
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_server.endpoints import AnyEndpoint, Reach
from ci_server.routes import ENDPOINTS
from tests.helpers.keys import a_key, bearing
from tests.helpers.played_api import Api, StartApi, zipped

SEED = int(os.environ.get("ACCESS_SEED", "1"))
REQUESTS = int(os.environ.get("ACCESS_REQUESTS", "400"))
OWN, OTHER = "own", "other"
PLACES = (OWN, OTHER, None)
LIMITS = (None, frozenset({OWN}))
NOT_FOUND = {
    *("project_not_found", "job_not_found", "key_not_found", "environment_not_found", "cache_not_found"),
    *("secret_not_found", "member_not_found"),
}
GUARDED = [endpoint for endpoint in ENDPOINTS if endpoint.scope is not None]


class Things:
    """One thing of every kind in every project, and in none."""

    def __init__(self, storage: Storage, lease: Lease) -> None:
        self._storage, self._lease = storage, lease
        self.ids: dict[tuple[str, str | None], str] = {}

    async def add(self) -> None:
        """Store all of them, in the place of those that are there."""
        for place in PLACES:
            await self._add(place)

    async def _add(self, place: str | None) -> None:
        storage, now = self._storage, utc_now()
        job = NewJob(id=new_job_id(), type="echo", submit_time=now, owner="alice", project=place)
        await storage.jobs.add(job, max_queued=100_000)
        name = sha256(str(place).encode()).hexdigest()[:32]
        cache = StoredCache(
            id=name, scope=name, owner="alice", project=place, path="~/x", key="k", job_id=job.id,
            created_time=now, last_used_time=now, size=1, files=1,
        )  # fmt: skip
        await storage.caches.keep(cache, self._lease)
        environment = Environment(
            key=name, owner="alice", project=place, job_id=job.id, runtime="docker", reference="sha256:1", image="i",
            setup="s", inputs=(), pinned=False, created_time=now, last_used_time=now, size=1, seconds=1.0,
        )  # fmt: skip
        await storage.environments.put(environment, self._lease)
        key, _ = a_key(role=Role.VIEWER, projects=None if place is None else frozenset({place}))
        await storage.keys.add(key)
        project = Project(name=place or "in no project", created_time=now, created_by="alice")
        await storage.projects.add(project)
        await storage.projects.set_member(project.name, Member("bob", Role.VIEWER, now, "alice"))
        secret = StoredSecret(
            project=place,
            name="x",
            reference="env:X",
            created_time=now,
            created_by="a",
            changed_time=now,
            changed_by="a",
        )
        await storage.secrets.put(secret)
        kinds = {"job_id": job.id, "id": name, "key": name, "key_id": key.id, "project": project.name}
        for kind, identity in kinds.items():
            self.ids[kind, place] = identity


@dataclass(frozen=True)
class Sender:
    scopes: frozenset[Scope]
    projects: frozenset[str] | None
    key: str


@pytest.fixture
async def things(api: Api) -> Things:
    storage = api.controller.storage
    lease = await storage.leases.acquire(this_process(), 3600)
    assert lease is not None
    return Things(storage, lease)


async def sender(api: Api, role: Role | None, projects: frozenset[str] | None, **more: Any) -> Sender:
    key, text = a_key(role=role, projects=projects, owner="alice", **more)
    await api.controller.storage.keys.add(key)
    return Sender(key.all_scopes, projects, text)


def is_as_expected(response: httpx.Response, expected: set[str]) -> bool:
    code = code_of(response)
    return code in expected if expected else response.status_code not in (401, 403) and code not in NOT_FOUND


def path_of(endpoint: AnyEndpoint, things: Things, place: str | None) -> str:
    path = endpoint.shown_path
    for (kind, at), identity in things.ids.items():
        if at == place:
            path = path.replace(f"{{{kind}}}", identity)
    for name in ("name", "test", "path"):
        path = path.replace(f"{{{name}}}", "x")
    return path.replace("{owner}", "bob").replace("{upload_id}", new_job_id())


CONTENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/projects"): {"json": {"name": "new"}},
    ("PATCH", "/projects/{project}"): {"json": {"description": "another"}},
    ("PUT", "/projects/{project}/members/{owner:rest}"): {"json": {"role": "viewer"}},
    ("POST", "/uploads/{upload_id}/submit"): {"json": {}},
    ("PATCH", "/uploads/{upload_id}"): {"params": {"frame": 0}},
}
"""What requests send that is the same for all projects."""


def content_of(endpoint: AnyEndpoint, place: str | None) -> dict[str, Any]:
    """Return what a request sends for something in a project, or for no project in particular."""
    project = {} if place is None else {"project": place}
    if endpoint.path.startswith("/submit"):
        archive = zipped(ci__yaml="command: 'true'")
        form = {"file": ("project.zip", archive, "application/zip")}
        return {"files": form, "data": {"spec": json.dumps(project)}}
    match endpoint.method, endpoint.path:
        case "POST", "/jobs":
            return {"json": {"type": "echo", **project}}
        case "POST", "/jobs/cleanup":
            return {"json": {"older_than": "10d", **project}}
        case "POST", "/keys":
            return {"json": {"name": "new", "role": "viewer", **({"projects": [place]} if place else {})}}
        case "POST", "/uploads":
            manifest = compressed_text(f"f 0 {sha256().hexdigest()} test_it.py\n")
            return {"content": manifest, "params": project}
        case "PUT", "/secrets/{name}":
            return {"json": {"reference": "env:X"}, "params": project}
        case "DELETE", "/secrets/{name}":
            return {"params": project}
    return CONTENTS.get((endpoint.method, endpoint.path), {})


async def answer(api: Api, endpoint: AnyEndpoint, path: str, key: str, **content: Any) -> httpx.Response:
    """Return the answer, of a stream of events only its head."""
    async with api.client.stream(endpoint.method, path, headers=bearing(key), **content) as response:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            await response.aread()
        return response


def code_of(response: httpx.Response) -> str:
    is_problem = response.headers.get("content-type") == "application/problem+json"
    return str(response.json()["code"]) if is_problem else ""


def refused(endpoint: AnyEndpoint, who: Sender, place: str | None) -> set[str]:
    """Return with which codes the table says that the request is refused; empty if it is allowed."""
    if endpoint.scope not in who.scopes:
        return {"scope_missing"}
    if who.projects is None:
        return set()
    if endpoint.reach is Reach.INSTALLATION:
        return {"scope_missing"}
    if endpoint.reach is Reach.ONE and place not in who.projects:
        return NOT_FOUND
    needs_name = place is None and len(who.projects) > 1
    if endpoint.reach is Reach.NEW and endpoint.path != "/keys" and (needs_name or place not in {None, *who.projects}):
        return {"project_refused"}
    if endpoint.path == "/keys" and endpoint.method == "POST" and place not in {None, *who.projects}:
        return {"invalid_request"}
    if endpoint.path == "/jobs/cleanup" and endpoint.method == "POST" and needs_name:
        return {"invalid_request"}
    return set()


def cases() -> Iterator[tuple[AnyEndpoint, str | None]]:
    for endpoint in GUARDED:
        for place in PLACES:
            yield endpoint, place


@pytest.mark.parametrize("projects", LIMITS, ids=["all-projects", "one-project"])
@pytest.mark.parametrize("role", Role)
async def test_every_route_answers_as_the_table_says(
    api: Api, things: Things, role: Role, projects: frozenset[str] | None
) -> None:
    await check_every_route(api, things, await sender(api, role, projects))


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MEMBER])
async def test_a_member_of_a_project_may_do_what_a_key_for_it_may(api: Api, things: Things, role: Role) -> None:
    await things.add()
    await api.controller.storage.projects.set_member(OWN, Member("carol", role, utc_now(), "alice"))
    key, text = a_key(role=Role.MEMBER, owner="carol")
    await api.controller.storage.keys.add(key)
    await check_every_route(api, things, Sender(SCOPES_OF[role], frozenset({OWN}), text))


async def check_every_route(api: Api, things: Things, who: Sender) -> None:
    wrong = []
    for endpoint, place in cases():
        if place == PLACES[0]:
            await things.add()  # The requests before may have removed them.
        path, content = path_of(endpoint, things, place), content_of(endpoint, place)
        got = await answer(api, endpoint, path, who.key, **content)
        expected = refused(endpoint, who, place)
        if not is_as_expected(got, expected):
            wrong.append((endpoint.method, endpoint.path, place, got.status_code, code_of(got), expected))
    assert wrong == []


async def test_random_requests_with_random_keys_are_answered_as_the_table_says(api: Api, things: Things) -> None:
    """Ids, projects and keys change at random: scopes one by one or a role, for any of the projects, valid or not."""
    chance = random.Random(SEED)
    wrong = []
    endpoint = GUARDED[0]
    for number in range(REQUESTS):
        if number % 20 == 0 or endpoint.method == "DELETE":
            await things.add()
        projects = chance.choice([None, *(frozenset(chance.sample([OWN, OTHER, "third"], n)) for n in (1, 2, 3))])
        role = chance.choice([None, *Role])
        scopes = frozenset(chance.sample(list(Scope), chance.randint(1, 6)))
        more = {"scopes": scopes} if role is None else {}
        ended = chance.choice([{}, {}, {}, {"expires": utc_now()}, {"revoked_time": utc_now()}])
        who = await sender(api, role, projects, **more, **ended)
        endpoint, place = chance.choice(GUARDED), chance.choice(PLACES)
        got = await answer(api, endpoint, path_of(endpoint, things, place), who.key, **content_of(endpoint, place))
        expected = {"key_invalid"} if ended else refused(endpoint, who, place)
        governs = SCOPES_OF[Role.VIEWER] <= who.scopes  # All keys among the things are those of viewers.
        if endpoint.scope is Scope.KEYS_ADMIN and not expected and not governs:
            expected = {Reach.ONE: NOT_FOUND, Reach.NEW: {"scope_missing"}}.get(endpoint.reach, expected)
        if "/members/" in endpoint.path and endpoint.method != "GET" and not expected and not governs:
            expected = {"scope_missing"}  # The member is a viewer, which the sender cannot make or remove.
        if not is_as_expected(got, expected):
            wrong.append((number, endpoint.method, endpoint.path, place, who, got.status_code, code_of(got), expected))
    assert wrong == []


async def test_what_is_not_visible_is_answered_like_what_is_not_there(api: Api, things: Things) -> None:
    await things.add()
    who = await sender(api, Role.ADMIN, frozenset({OWN}))
    absent = {"job_id": new_job_id(), "id": "0" * 32, "key": "0" * 32, "key_id": new_secret().id}
    absent["project"] = "absent"
    for endpoint in GUARDED:
        if endpoint.reach is not Reach.ONE:
            continue
        for place in (OTHER, None):
            texts = []
            kinds = [kind for kind in absent if f"{{{kind}}}" in endpoint.shown_path]
            for ids in ({kind: things.ids[kind, place] for kind in kinds}, {kind: absent[kind] for kind in kinds}):
                path = endpoint.shown_path
                for kind, identity in ids.items():
                    path = path.replace(f"{{{kind}}}", identity)
                got = await answer(api, endpoint, path, who.key, **content_of(endpoint, place))
                text = got.text
                for kind, identity in ids.items():
                    text = text.replace(identity, kind)
                texts.append((got.status_code, text, sorted(got.headers.keys())))
            assert texts[0] == texts[1], (endpoint.method, endpoint.path, place)


async def test_lists_show_what_the_sender_may_see_and_nothing_else(api: Api, things: Things) -> None:
    await things.add()
    for path, shown in (
        ("/jobs", "project"),
        ("/caches", "project"),
        ("/environments", "project"),
        ("/secrets", "project"),
    ):
        everything = await api.client.get(path, headers=bearing((await sender(api, Role.DEVELOPER, None)).key))
        assert {each[shown] for each in everything.json()} == set(PLACES)
        own = await api.client.get(path, headers=bearing((await sender(api, Role.DEVELOPER, frozenset({OWN}))).key))
        assert {each[shown] for each in own.json()} == {OWN}
        nothing = await api.client.get(path, headers=bearing((await sender(api, Role.ADMIN, frozenset({"x"}))).key))
        assert nothing.json() == []
    who = await sender(api, Role.ADMIN, frozenset({OWN}))
    found = (await api.client.get("/jobs", params={"q": OTHER}, headers=bearing(who.key))).json()
    assert found == [], "a search does not look into what is not visible"
    assert all(key["projects"] == [OWN] for key in (await api.client.get("/keys", headers=bearing(who.key))).json())


async def test_a_cleanup_deletes_what_the_sender_may_see(start_api: StartApi) -> None:
    api: Api = await start_api()
    storage = api.controller.storage
    api.client.headers.update(bearing((await sender(api, Role.ADMIN, None)).key))
    jobs = {place: await api.submit(**({"project": place} if place else {})) for place in PLACES}
    for job_id in jobs.values():
        await api.controller.start(job_id)
        await api.controller.finish(job_id)
    key, text = a_key(role=Role.OPERATOR, projects=frozenset({OWN}))
    await storage.keys.add(key)
    for project, deleted in ((OTHER, []), (None, [jobs[OWN]])):
        body = {"older_than": 0, **({"project": project} if project else {})}
        answered = await api.client.post("/jobs/cleanup", json=body, headers=bearing(text))
        assert answered.json()["job_ids"] == deleted, answered.text
    several, text = a_key(role=Role.OPERATOR, projects=frozenset({OWN, OTHER}))
    await storage.keys.add(several)
    answered = await api.client.post("/jobs/cleanup", json={"older_than": 0}, headers=bearing(text))
    assert (answered.status_code, answered.json()["errors"][0]["path"]) == (400, "project")


async def test_without_a_key_every_guarded_route_is_closed(api: Api, things: Things) -> None:
    await things.add()
    for endpoint, place in cases():
        for headers in ({}, bearing(new_secret().key), bearing(str(uuid4())), {"Authorization": "Basic YTpi"}):
            got = await api.client.request(endpoint.method, path_of(endpoint, things, place), headers=headers)
            assert got.status_code == 401, (endpoint.path, headers)
            assert got.headers["www-authenticate"].startswith('Bearer realm="ci-server"')
            assert code_of(got) == ("key_invalid" if headers else "key_missing")


async def test_no_path_leads_out_of_what_the_sender_may_see(api: Api, things: Things) -> None:
    """Traversal on download and delete: an id that is no id is not found, whatever it decodes to."""
    await things.add()
    who = await sender(api, Role.ADMIN, None)
    own = things.ids["job_id", OWN]
    for name in ("..%2f..", "%2e%2e", "..%5c..", "%00", f"{own}%2f..%2f{own}", f"..%2fjobs%2f{own}", "%252e%252e"):
        for method, path in (
            ("GET", f"/jobs/{name}/log"),
            ("DELETE", f"/jobs/{name}"),
            ("GET", f"/jobs/{name}/artifacts/x"),
            ("GET", f"/jobs/{own}/artifacts/{name}"),
            ("GET", f"/jobs/{own}/services/{name}/log"),
            ("DELETE", f"/caches/{name}"),
            ("DELETE", f"/environments/{name}"),
            ("DELETE", f"/keys/{name}"),
            ("GET", f"/uploads/{name}"),
        ):
            got = await api.client.request(method, httpx.URL(f"{api.url}{path}"), headers=bearing(who.key))
            assert got.status_code == 404, (method, path, got.text)
    assert (await api.client.get(f"/jobs/{own}", headers=bearing(who.key))).status_code == 200


async def test_an_expired_key_opens_nothing(api: Api, things: Things) -> None:
    await things.add()
    key, text = a_key(expires=utc_now() - timedelta(seconds=1))
    await api.controller.storage.keys.add(key)
    got = await api.client.get("/jobs", headers=bearing(text))
    assert (got.status_code, got.json()["detail"]) == (401, "the key 'a key' has expired")
