"""The OpenAPI document, made from the table of endpoints."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from ci_common.errors import FilesElsewhere, InvalidRequest, RequestError, Unavailable
from ci_common.parsing.input_schema import BOOLEAN, finished
from ci_common.secrets.stored import NAME_PATTERN
from ci_common.spec import Name, Spec
from ci_common.wire.live.events import CommandEvent
from ci_common.wire.problems import PROBLEM_MEDIA_TYPE, ProblemView
from ci_server.endpoints import Answer, AnyEndpoint, BytesBody, Files, JsonBody, UploadBody
from ci_server.http.refusals import (
    CrossSite,
    HeadersTooLarge,
    InvalidHttp,
    KeyInvalid,
    KeyMissing,
    MisdirectedRequest,
    RateLimited,
    RequestStalled,
    ScopeMissing,
    SessionEnded,
    TooManyConnections,
    UrlTooLong,
)
from ci_server.http.requests import NoQuery
from ci_server.openapi.requests import ANY_JSON, ANY_JSON_SCHEMA, HEADERS, InputSchema

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/components/schemas/{model}"
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_ABOUT: Final = """A self-hosted job service: submit a directory, watch it run in a clean container, get a verdict.

Times are RFC 3339 in UTC with `Z`. Unknown fields and parameters are refused with their path. Every endpoint with `GET`
answers `HEAD`, too. A path that is not here is answered by 404 (`not_found`), and a method that is not here by 405
(`method_not_allowed`) with `Allow`; what cannot be read as HTTP may be answered by other statuses (`http_error`). Later
versions may add fields to answers.

Keys are sent as `Authorization: Bearer KEY`; browsers that have signed in (`POST /session`) send a cookie instead. What
the key of a request may not see is answered as if it were not there.
"""
_SCHEME: Final = "key"
_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "ci_ID_SECRET",
    "description": (
        "A key, as `ci keys create` makes it. Every operation names the scope that its key needs. While the server has "
        "no keys, requests from its own machine need none."
    ),
}
_EVERYWHERE: Final[tuple[type[RequestError], ...]] = (
    InvalidRequest,
    InvalidHttp,
    RequestStalled,
    UrlTooLong,
    MisdirectedRequest,
    HeadersTooLarge,
    TooManyConnections,
    RateLimited,
    Unavailable,
)
"""The errors that every endpoint may answer with."""
_RESPONSE_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Location": {
        "description": "Where it is, or where a browser goes on.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` for a job that the same submission made before.",
        "schema": {"const": "true"},
    },
    "Link": {
        "description": 'The next page (RFC 8288), with `rel="next"`. Without it, the page is the last.',
        "schema": {"type": "string"},
    },
    "ETag": {"description": "The SHA-256 of the content, once that is complete.", "schema": {"type": "string"}},
    "Content-Disposition": {
        "description": "Whether browsers show or save it, and under which name (RFC 6266).",
        "required": True,
        "schema": {"type": "string"},
    },
    "Accept-Ranges": {"description": "`bytes`", "required": True, "schema": {"const": "bytes"}},
    "Content-Range": {
        "description": "Which bytes these are; the length is `*` while the log may grow.",
        "required": True,
        "schema": {"type": "string", "pattern": "^bytes "},
    },
    "WWW-Authenticate": {
        "description": "How a key is sent (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer "},
    },
    "Set-Cookie": {
        "description": "The cookie of the session, which pages cannot read.",
        "required": True,
        "schema": {"type": "string", "pattern": "HttpOnly; SameSite=Lax"},
    },
    "Retry-After": {
        "description": "Seconds after which the same request may succeed.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def openapi(
    endpoints: Iterable[AnyEndpoint], version: str, *, needs_keys: bool = True, prefix: str = ""
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these endpoints, for a server that needs keys, or for one that does not.

    `prefix` is what its paths begin with before they are those of the table.
    """
    return _Writer(tuple(endpoints), needs_keys).document(version) | {"servers": [{"url": prefix or "/"}]}


def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema of `ci.yaml` and of the field `spec` of an upload."""
    schema: dict[str, Any] = finished(TypeAdapter(Spec).json_schema(schema_generator=InputSchema))
    return {"$schema": SCHEMA_DIALECT, "$id": "urn:ci-server:schema:spec", "title": "ci.yaml", **schema}


def events_schema() -> dict[str, Any]:
    """Return the JSON Schema of an event of a job's stream, and of a line that the commands write with `--jsonl`."""
    schema: dict[str, Any] = finished(TypeAdapter(CommandEvent).json_schema(mode="serialization"))
    return {"$schema": SCHEMA_DIALECT, "$id": "urn:ci-server:schema:events", "title": "Event", **schema}


def plain(markdown: str) -> str:
    """Return Markdown without its links, which lead to other pages of the project."""
    return _LINK.sub(r"\1", markdown)


class _Writer:
    def __init__(self, endpoints: tuple[AnyEndpoint, ...], needs_keys: bool) -> None:
        self._endpoints = endpoints
        self._needs_keys = needs_keys
        self._asked: dict[int, Any] = {}
        self._keyed: list[tuple[int, JsonSchemaMode, TypeAdapter[Any]]] = []
        for endpoint in endpoints:
            body = endpoint.body
            if isinstance(body, JsonBody):
                self._add(body, "validation", body.type())
            elif isinstance(body, UploadBody):
                self._add(body, "validation", body.type)
            for answer in endpoint.answers.values():
                for shown in answer.content.values():
                    self._add(shown, "serialization", shown)
        self._add(ProblemView, "serialization", ProblemView)
        self._schemas, definitions = TypeAdapter.json_schemas(
            self._keyed, ref_template=_REFERENCE, schema_generator=InputSchema
        )
        self._components: dict[str, Any] = {ANY_JSON: ANY_JSON_SCHEMA, **definitions.get("$defs", {})}

    def _add(self, key: Any, mode: JsonSchemaMode, type_: Any) -> None:
        if id(key) not in self._asked:
            self._asked[id(key)] = key  # Kept, so that its id stays its own.
            self._keyed.append((id(key), mode, TypeAdapter(type_)))

    def _schema(self, key: Any, mode: JsonSchemaMode) -> Any:
        return self._schemas[id(key), mode]

    def document(self, version: str) -> dict[str, Any]:
        paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for endpoint in self._endpoints:
            paths[endpoint.shown_path][endpoint.method.lower()] = self._operation(endpoint)
        for path, operations in paths.items():
            if parameters := [_path_parameter(path, name) for name in re.findall(r"{(\w+)}", path)]:
                operations["parameters"] = parameters
        return {
            "openapi": "3.1.0",
            "jsonSchemaDialect": SCHEMA_DIALECT,
            "info": {"title": "ci-server", "version": version, "description": _ABOUT, "license": {"name": "MIT"}},
            "paths": dict(paths),
            "components": {"schemas": finished(self._components), "securitySchemes": {_SCHEME: _KEY}},
        }

    def _operation(self, endpoint: AnyEndpoint) -> dict[str, Any]:
        operation: dict[str, Any] = {
            "operationId": endpoint.name,
            "tags": ["jobs" if endpoint.path.startswith(("/jobs", "/submit", "/uploads")) else "server"],
            "summary": endpoint.summary,
            "description": plain(endpoint.description),
            "x-rate-class": endpoint.rate_class,
        }
        operation["security"] = []
        if endpoint.scope is not None:
            operation["x-scope"] = endpoint.scope
            operation["x-reach"] = endpoint.reach
            operation["security"] = [{_SCHEME: [endpoint.scope]}, *([] if self._needs_keys else [{}])]
        if parameters := [*_query_parameters(endpoint), *(_header(name) for name in endpoint.headers)]:
            operation["parameters"] = parameters
        if endpoint.body is not None:
            operation["requestBody"] = self._body(endpoint.body)
        operation["responses"] = self._responses(endpoint)
        return operation

    def _body(self, body: JsonBody[Any] | UploadBody | BytesBody) -> dict[str, Any]:
        if isinstance(body, BytesBody):
            content: dict[str, Any] = {body.media_type: {"schema": {"type": "string", "format": "binary"}}}
            return {"description": body.description, "required": body.required, "content": content}
        schema = finished(self._schema(body, "validation"))
        if isinstance(body, UploadBody):
            encoding = {"file": {"contentType": "application/zip"}, "spec": {"contentType": "application/json"}}
            content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
        else:
            content = {"application/json": {"schema": schema}}
            if body.examples:
                content["application/json"]["examples"] = {
                    name: {"value": value} for name, value in body.examples.items()
                }
        return {"required": not isinstance(body, JsonBody) or body.required, "content": content}

    def _responses(self, endpoint: AnyEndpoint) -> dict[str, Any]:
        responses = {status: self._answer(answer) for status, answer in endpoint.answers.items()}
        if endpoint.files is not Files.NEVER:
            responses[307] = {
                "description": "The files are on another host (`CI_FILES`): send the request there, as it is.",
                "headers": {"Location": {**_RESPONSE_HEADERS["Location"], "description": "The URL there."}},
            }
        for status, errors in _errors_of(endpoint).items():
            responses.setdefault(status, self._problem(errors))
        responses[500] = self._problem_answer(
            "`internal_error`: a bug; the server's log says more.", ["internal_error"]
        )
        return {str(status): responses[status] for status in sorted(responses)}

    def _answer(self, answer: Answer) -> dict[str, Any]:
        written: dict[str, Any] = {"description": answer.description}
        if answer.headers:
            written["headers"] = {name: _RESPONSE_HEADERS[name] for name in answer.headers}
        if answer.content:
            written["content"] = {
                media_type: self._shown(media_type, type_) for media_type, type_ in answer.content.items()
            }
        if answer.links:
            written["links"] = {
                endpoint.name: {"operationId": endpoint.name, "parameters": {"job_id": "$response.body#/job_id"}}
                for endpoint in self._endpoints
                if "{job_id}" in endpoint.path
            }
        return written

    def _shown(self, media_type: str, type_: Any) -> dict[str, Any]:
        schema = self._schema(type_, "serialization")
        if media_type == "text/event-stream":
            return {"schema": _event(schema)}
        return {"schema": schema}

    def _problem(self, errors: list[type[RequestError]]) -> dict[str, Any]:
        meanings = "; ".join(f"`{error.code}`: {_first_line(error)}" for error in errors)
        written = self._problem_answer(meanings, [error.code for error in errors])
        names = {name for error in errors for name in error.headers}
        if any(error.retry_after is not None for error in errors):
            names.add("Retry-After")
        if names:
            written["headers"] = {name: _RESPONSE_HEADERS[name] for name in sorted(names)}
        return written

    def _problem_answer(self, description: str, codes: list[str]) -> dict[str, Any]:
        problem = self._schema(ProblemView, "serialization")
        schema = {"allOf": [problem, {"properties": {"code": {"enum": codes}}}]}
        return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}


def _event(data: Any) -> dict[str, Any]:
    """Return the schema of one event of a stream, as OpenAPI 3.2 writes it under `itemSchema`."""
    described = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "description": "One server-sent event; the body is a sequence of them.",
        "required": ["data"],
        "properties": {
            "data": described,
            "id": {"type": "string", "description": "where to go on: the `Last-Event-ID` of the next request"},
        },
    }


def _errors_of(endpoint: AnyEndpoint) -> Mapping[int, list[type[RequestError]]]:
    errors = [*_EVERYWHERE, *endpoint.errors]
    if endpoint.scope is not None:
        errors += [KeyMissing, KeyInvalid, SessionEnded, ScopeMissing]
    if endpoint.method != "GET" or endpoint.scope is not None:
        errors.append(CrossSite)
    if endpoint.files is not Files.NEVER:
        errors.append(FilesElsewhere)
    by_status: defaultdict[int, list[type[RequestError]]] = defaultdict(list)
    for error in errors:
        by_status[error.status].append(error)
    return by_status


def _first_line(error: type[RequestError]) -> str:
    text = (error.__doc__ or HTTPStatus(error.status).phrase).splitlines()[0].rstrip(".")
    return text[0].lower() + text[1:]


def _path_parameter(path: str, name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in ("job_id", "upload_id"):
        schema["format"] = "uuid"
    elif path.startswith("/secrets/"):
        schema["pattern"] = f"^{NAME_PATTERN}$"
    elif name == "owner":
        schema = TypeAdapter(Name).json_schema()
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", **HEADERS[name]}


def _query_parameters(endpoint: AnyEndpoint) -> Iterable[dict[str, Any]]:
    model = endpoint.query or NoQuery
    schema = finished(TypeAdapter(model).json_schema(ref_template="{model}", schema_generator=InputSchema))
    for name, described in schema.get("properties", {}).items():
        parameter: dict[str, Any] = {"name": name, "in": "query"}
        own = _without_null(described, schema.get("$defs", {}))
        if text := own.pop("description", None):
            parameter["description"] = text
        if name in schema.get("required", ()):
            parameter["required"] = True
        yield {**parameter, "schema": own}


def _without_null(described: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter in a query, which is text or absent, but never null."""
    own = {name: value for name, value in described.items() if name != "anyOf"}
    if own.get("default", ...) in (None, []):
        del own["default"]
    options = [option for option in described.get("anyOf", ()) if option.get("type") != "null"]
    numbers = [option for option in options if option.get("type") in ("integer", "number")]
    chosen = (numbers or options)[:1]
    for option in chosen:
        own = {**definitions.get(option.get("$ref"), option), **own}
    if own.get("enum") == BOOLEAN["enum"]:
        texts = [value for value in own["enum"] if isinstance(value, str)]
        own = {**own, "enum": texts, "type": "string", "default": str(own["default"]).lower()}
    return own
