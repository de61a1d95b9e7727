"""The table of endpoints, and the boundary between a request and its handler."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ci_common.access.identity import Identity, Scope
from ci_common.settings import Settings
from ci_server.access.rates import Rates
from ci_server.app import create_api
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, PathRoute, RateClass, model_body, routes_of
from ci_server.http.application import Application
from ci_server.http.exchange import Shutdown
from ci_server.http.requests import NoQuery, QueryModel
from ci_server.http.responses import Document
from ci_server.routes import ENDPOINTS


class Colour(QueryModel):
    colour: str = "red"
    size: list[int] = Field(default_factory=list)


def endpoint(handler: Any, **more: Any) -> AnyEndpoint:
    declared: dict[str, Any] = {
        "method": "GET",
        "path": "/things",
        "summary": "",
        "description": "",
        "answers": {200: Answer("")},
        "scope": None,
        "rate_class": RateClass.READ,
    }
    return Endpoint(handler=handler, **declared | more)


class NoAudit:
    """Stands for the audit, which writes into the database."""

    def note(self, *_: object) -> None: ...

    def refuse(self, *_: object) -> None: ...

    async def finish(self, _: None) -> None: ...


async def answered(table: list[AnyEndpoint], method: str, path: str, *scopes: Scope, **more: Any) -> httpx.Response:
    """Return the answer of an application with these endpoints to a sender with `scopes`."""

    async def identify(_: Request) -> Identity:
        return Identity("a tester", frozenset(scopes))

    app = Application(settings=Settings(), routes=routes_of(table, identify))
    services = SimpleNamespace(settings=Settings(), rates=Rates(Settings()), audit=NoAudit())
    services.audited = lambda _: services
    app.state.shutdown, app.state.services = Shutdown(), services
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, path, **more)


def test_every_route_of_the_application_comes_from_the_table(tmp_path: Path) -> None:
    api = create_api(Settings(db_path=tmp_path / "ci_jobs.db"))
    declared: list[AnyEndpoint] = []
    for route in api.routes:
        assert isinstance(route, Route)
        assert isinstance(route.app, PathRoute)
        declared += [one for method, one in route.app.endpoints.items() if method != "HEAD"]
    assert {id(one) for one in declared} == {id(one) for one in ENDPOINTS}
    assert len(declared) == len(ENDPOINTS)


def test_every_endpoint_says_who_may_call_it_and_how_it_answers() -> None:
    names = [one.name for one in ENDPOINTS]
    assert len(set(names)) == len(names)
    open_to_everyone = {one.path for one in ENDPOINTS if one.scope is None}
    pages = {"/", "/ui/{path:rest}", "/docs", "/openapi.json", "/schema/spec.json", "/schema/events.json"}
    signing_in = {"/sign-in", "/session", "/session/oidc", "/session/oidc/callback"}
    assert open_to_everyone == {"/health", "/ready", *pages, *signing_in}
    for one in ENDPOINTS:
        assert one.summary
        assert one.answers
        assert one.method == "GET" or one.scope is not None or one.path == "/session"


async def test_a_filter_is_declared_in_one_place() -> None:
    async def list_things(call: Call[Colour, None]) -> Response:
        return Document(call.query.model_dump())

    table = [endpoint(list_things, query=Colour)]
    assert (await answered(table, "GET", "/things?colour=blue&size=1&size=2")).json() == {
        "colour": "blue",
        "size": [1, 2],
    }
    assert (await answered(table, "GET", "/things")).json() == {"colour": "red", "size": []}
    refused = await answered(table, "GET", "/things?color=blue")
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (400, "color")
    assert (await answered(table, "GET", "/things?colour=blue&colour=red")).status_code == 400


async def test_a_body_reaches_the_handler_as_its_model() -> None:
    async def add_thing(call: Call[NoQuery, Colour]) -> Response:
        return Document(call.body.colour, 201)

    table = [endpoint(add_thing, method="POST", body=model_body(Colour))]
    answer = await answered(table, "POST", "/things", json={"colour": "blue"})
    assert (answer.status_code, answer.json()) == (201, "blue")
    assert (await answered(table, "POST", "/things", json={"color": "blue"})).status_code == 400
    assert (await answered(table, "POST", "/things?colour=blue", json={})).status_code == 400, "it takes no query"


async def test_a_scope_is_checked_before_anything_is_read() -> None:
    async def see(_: Call[Colour, None]) -> Response:
        return Response("seen")

    table = [endpoint(see, query=Colour, scope=Scope.JOBS_READ)]
    refused = await answered(table, "GET", "/things?colour", Scope.JOBS_WRITE)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert "jobs:read" in refused.json()["detail"]
    assert (await answered(table, "GET", "/things", Scope.JOBS_READ)).text == "seen"


async def test_methods_that_are_not_declared_are_refused_with_those_that_are() -> None:
    async def see(_: Call[NoQuery, None]) -> Response:
        return Response("seen")

    table = [endpoint(see, path="/{thing}", method="DELETE"), endpoint(see), endpoint(see, method="POST")]
    refused = await answered(table, "PUT", "/things")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST")
    assert (await answered(table, "DELETE", "/things")).headers["allow"] == "GET, HEAD, POST"
    assert (await answered(table, "DELETE", "/other")).text == "seen"
    assert (await answered(table, "HEAD", "/things")).status_code == 200
    assert (await answered(table, "GET", "/things/2")).status_code == 404


def test_an_endpoint_declared_twice_is_a_mistake() -> None:
    async def see(_: Call[NoQuery, None]) -> Response:
        return Response("seen")

    with pytest.raises(ValueError, match="GET /things is declared twice"):
        routes_of([endpoint(see), endpoint(see)])


def test_handlers_and_declarations_name_the_same_query() -> None:
    for one in ENDPOINTS:
        call = one.handler.__annotations__["call" if "call" in one.handler.__annotations__ else "_call"]
        query, _body = call.__args__
        assert query is (one.query or NoQuery), one.name
