"""The table of endpoints. A route that is not in it cannot exist.

The endpoints of jobs are declared beside their handlers, in `ci_server.jobs`; here are those of the server itself.
"""

import asyncio
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from pydantic_core import to_json
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.wire.answers import AboutView, MetricsView, PoolView, StatusView
from ci_common.wire.writing import pool_on_wire
from ci_server import audit, caches, environments, keys, members, projects, secrets, sessions, sign_in
from ci_server.artifacts import endpoints as artifacts
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, json_answer
from ci_server.http.front_page import front_page
from ci_server.http.prefixes import prefix_of
from ci_server.http.refusals import PageFileNotFound
from ci_server.http.requests import AnyQuery, NoQuery
from ci_server.http.responses import Document
from ci_server.jobs import (
    delete_endpoints,
    index_endpoints,
    list_endpoints,
    read_endpoints,
    record_endpoints,
    report_endpoints,
    submit_endpoints,
    upload_endpoints,
)
from ci_server.metrics import TEXT_TYPES, metrics_answer
from ci_server.openapi.document import openapi
from ci_server.openapi.page import docs_page
from ci_server.openapi.schemas import packaged_schema
from ci_server.overview import events, queue, trends
from ci_server.readiness import readiness
from ci_server.ui.serving import page_answer

HTML: Final = "text/html; charset=utf-8"
_JSON_SCHEMA: Final = "application/schema+json"
_UNCHANGED: Final = {"Cache-Control": "no-cache"}


async def get_metrics(call: Call[NoQuery, None]) -> Response:
    return await metrics_answer(call.services, call.request)


async def get_pool(call: Call[NoQuery, None]) -> Response:
    return Document(pool_on_wire(await call.services.storage.pool.get()))


async def get_front_page(call: Call[NoQuery, None]) -> Response:
    return front_page(call.request)


async def get_ui(call: Call[AnyQuery, None]) -> Response:
    return page_answer(call.request, call.request.path_params.get("path", ""))


async def get_health(_call: Call[NoQuery, None]) -> Response:
    return Document({"status": "ok"})


async def get_readiness(call: Call[NoQuery, None]) -> Response:
    return await readiness(call.services)


async def get_openapi(call: Call[NoQuery, None]) -> Response:
    needs_keys = await call.services.authentication.needs_keys(call.request)
    document = await asyncio.to_thread(_written, needs_keys, prefix_of(call.request.scope))
    return Response(document, headers=_UNCHANGED, media_type=Document.media_type)


async def get_docs(call: Call[NoQuery, None]) -> Response:
    return docs_page(await asyncio.to_thread(_document, True, prefix_of(call.request.scope)))


async def get_spec_schema(call: Call[NoQuery, None]) -> Response:
    return _schema("spec", call)


async def get_events_schema(call: Call[NoQuery, None]) -> Response:
    return _schema("events", call)


def _schema(name: str, call: Call[NoQuery, None]) -> Response:
    """Return a schema of the package. Its id is the URL at which it was asked for, where editors find it again."""
    schema = packaged_schema(name) | {"$id": str(call.request.url.replace(query=""))}
    return Response(to_json(schema), headers=_UNCHANGED, media_type=_JSON_SCHEMA)


@cache
def _document(needs_keys: bool, prefix: str) -> dict[str, Any]:
    return openapi(ENDPOINTS, version("ci-server"), needs_keys=needs_keys, prefix=prefix)


@cache
def _written(needs_keys: bool, prefix: str) -> bytes:
    """Return the document as JSON, which takes milliseconds to write."""
    return to_json(_document(needs_keys, prefix))


ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    *submit_endpoints.ENDPOINTS,
    *upload_endpoints.ENDPOINTS,
    *list_endpoints.ENDPOINTS,
    *events.ENDPOINTS,
    *queue.ENDPOINTS,
    *read_endpoints.ENDPOINTS,
    *index_endpoints.ENDPOINTS,
    *report_endpoints.ENDPOINTS,
    *record_endpoints.ENDPOINTS,
    *delete_endpoints.ENDPOINTS,
    *environments.ENDPOINTS,
    *caches.ENDPOINTS,
    *artifacts.ENDPOINTS,
    *projects.ENDPOINTS,
    *members.ENDPOINTS,
    *trends.ENDPOINTS,
    *keys.ENDPOINTS,
    *sessions.ENDPOINTS,
    *sign_in.ENDPOINTS,
    *secrets.ENDPOINTS,
    *audit.ENDPOINTS,
    Endpoint(
        method="GET",
        path="/metrics",
        handler=get_metrics,
        summary="Get the metrics",
        description=(
            "JSON with the [metrics](metrics.md); Prometheus's text format or OpenMetrics if `Accept` prefers "
            "it to JSON"
        ),
        answers={
            200: Answer("The metrics.", {"application/json": MetricsView, **dict.fromkeys(TEXT_TYPES, str)}),
        },
        scope=Scope.METRICS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/pool",
        handler=get_pool,
        summary="Get the containers that wait for jobs",
        description=(
            'the [containers that wait for jobs](operations.md#warm-containers): `{"size": 8, "per_key": 4, '
            '"waiting": 2, "held_back": null, "kinds": [{"kind": "…", "image": "python:3.12-slim", "network": '
            'true, "limits": {}, "waiting": 2, "starting": 0, "wanted": 2, "last_used": "…"}]}`; `held_back` '
            "says why no more are made at present; `image`, `network`, `limits` and `last_used` are null for "
            "containers that an earlier controller left"
        ),
        answers={200: json_answer(PoolView, "The pool.")},
        scope=Scope.METRICS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/",
        handler=get_front_page,
        summary="What this is and where to go",
        description=(
            "what this is and where to go, as JSON with `name`, `about`, `links`, `commands` and `documentation`; if "
            "`Accept` prefers HTML, as a browser's does, a redirect to [the page](ui.md)"
        ),
        answers={
            200: json_answer(AboutView, "What this is."),
            307: Answer("The page is at `/ui/`.", headers=["Location"]),
        },
        scope=None,
        rate_class=RateClass.PROBE,
    ),
    Endpoint(
        method="GET",
        path="/ui/{path:rest}",
        handler=get_ui,
        query=AnyQuery,
        summary="The page for browsers",
        description=(
            "[the page](ui.md) and its files. A path that is no file is answered by the page, if `Accept` allows HTML"
        ),
        answers={200: Answer("The page, or a file of it.", {HTML: str}), 304: Answer("The file is unchanged.")},
        errors=[PageFileNotFound],
        scope=None,
        rate_class=RateClass.PROBE,
    ),
    Endpoint(
        method="GET",
        path="/health",
        handler=get_health,
        summary="Whether the server answers",
        description='200 `{"status": "ok"}` as long as the process answers',
        answers={200: json_answer(StatusView, "It answers.")},
        scope=None,
        rate_class=RateClass.PROBE,
    ),
    Endpoint(
        method="GET",
        path="/ready",
        handler=get_readiness,
        summary="Whether the server can take work",
        description=(
            "the same, or 503 with the parts that fail in `errors`: `server` (it is shutting down), "
            "`database`, `data_directory` (it cannot be written to), `disk` (less free space than [must stay "
            "free](operations.md#overload)). The container engine is not checked: without it, jobs wait"
        ),
        answers={200: json_answer(StatusView, "It can take work.")},
        scope=None,
        rate_class=RateClass.PROBE,
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler=get_openapi,
        summary="Get this description",
        description=("this list with all schemas, as OpenAPI 3.1"),
        answers={200: json_answer(dict[str, Any], "The document.")},
        scope=None,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/docs",
        handler=get_docs,
        summary="Read this description",
        description=("the same as a page for browsers, which loads nothing else"),
        answers={200: Answer("The page.", {HTML: str})},
        scope=None,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/schema/spec.json",
        handler=get_spec_schema,
        summary="Get the schema of ci.yaml",
        description="the JSON Schema of [ci.yaml](ci-yaml.md) and of the field `spec`, for editors and checkers",
        answers={200: Answer("The schema.", {_JSON_SCHEMA: dict[str, Any]})},
        scope=None,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/schema/events.json",
        handler=get_events_schema,
        summary="Get the schema of events",
        description="the JSON Schema of a line that [`--jsonl`](cli.md#events) writes",
        answers={200: Answer("The schema.", {_JSON_SCHEMA: dict[str, Any]})},
        scope=None,
        rate_class=RateClass.READ,
    ),
)
