"""The OpenAPI document, its page, and the schema of `ci.yaml`."""

import json
import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from ci_common.errors import RequestError
from ci_common.spec import Spec
from ci_server.endpoints import Files
from ci_server.openapi.document import openapi, spec_schema
from ci_server.openapi.page import docs_page
from ci_server.openapi.schemas import packaged_schema
from ci_server.routes import ENDPOINTS
from tests.helpers.markdown import Page, codes, table

DOCUMENT = openapi(ENDPOINTS, "1.2.3")
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
SPEC = spec_schema()


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


def test_it_has_every_endpoint_with_its_answers() -> None:
    assert set(OPERATIONS) == {f"{one.method} {one.shown_path}" for one in ENDPOINTS}
    for endpoint in ENDPOINTS:
        responses = OPERATIONS[f"{endpoint.method} {endpoint.shown_path}"]["responses"]
        expected = {
            *endpoint.answers,
            *(error.status for error in endpoint.errors),
            400,
            408,
            414,
            421,
            429,
            431,
            500,
            503,
        }
        expected |= {403} if endpoint.scope or endpoint.method != "GET" else set()
        expected |= {401} if endpoint.scope else set()
        expected |= {307} if endpoint.files is not Files.NEVER else set()
        assert set(responses) == {str(status) for status in expected}


def test_it_has_every_problem() -> None:
    """But those that no operation can have, and those from below the API."""
    written = set(re.findall(r'"([a-z_]+)"', " ".join(re.findall(r'"code": {"enum": \[(.*?)\]', json.dumps(DOCUMENT)))))
    documented = {codes(row[1])[0] for row in table(Page("docs/http.md").section("Errors"))}
    written |= {"range_not_satisfiable"}  # It has a declaration of its own.
    assert documented - written == {"not_found", "method_not_allowed", "http_error"}
    assert {error.code for error in RequestError.__subclasses__()} <= written


def test_every_operation_of_a_job_is_linked_from_what_makes_one() -> None:
    links = OPERATIONS["POST /jobs"]["responses"]["202"]["links"]
    assert set(links) >= {
        *("list_artifacts", "get_artifact", "get_artifacts_zip"),
        *("get_job", "stream_job", "get_job_log", "get_service_log", "cancel_job", "delete_job", "retry_job"),
    }
    assert all(link["parameters"] == {"job_id": "$response.body#/job_id"} for link in links.values())


def test_the_page_shows_everything_and_loads_nothing() -> None:
    response = docs_page(DOCUMENT)
    text = bytes(response.body).decode()
    for call, operation in OPERATIONS.items():
        assert f"<code>{call}</code>" in text
        assert f'id="{operation["operationId"]}"' in text
    for name in DOCUMENT["components"]["schemas"]:
        assert f'id="schema-{name}"' in text
    assert not re.search(r"<(script|link|img|iframe|form)\b|@import|url\(", text)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    targets = re.findall(r'href="#([^"]+)"', text)
    assert targets
    assert all(f'id="{target}"' in text for target in targets)


VALID: list[dict[str, Any]] = [
    {},
    {"command": "make", "image": "python:3.12-slim"},
    {"command": ["make", ""], "env": {"A": "1", "B": 2}, "labels": {"team": "a"}},
    {"steps": ["make", {"run": "make test", "name": "test"}], "network": "no", "priority": "-3"},
    {"timeout": "1h30m", "stop_grace": 0, "retry": {"on": "failed", "max_attempts": "3", "backoff": "10s"}},
    {"installer": "auto", "setup": "ci_install six", "fresh": True, "project": "a", "no_output_timeout": "5m"},
    {
        "setup": {"run": "make deps", "inputs": ["a/**/*.txt"], "pinned": False},
        "cache": [{"path": "~/.cache/pip", "key": "pip-{{ hash('requirements*.txt', 'tests/*.txt') }}-{{ image }}"}],
    },
    {"services": {"db": {"image": "postgres:16", "env": {"A": "b"}, "health": {"port": 5432}, "ready_timeout": "1m"}}},
    {"services": {"db": {"image": "x", "health": ["pg_isready"], "limits": {"memory": "1g"}, "command": "serve"}}},
    {"steps": [{"run": "a", "if": "failure", "continue_on_error": True, "timeout": "1m", "working_directory": "b"}]},
    {
        "steps": [{"run": "a", "env": {"B": "c"}}],
        "cache": [{"path": "a", "key": "k", "restore": "b", "when": "always"}],
    },
    {"limits": {"memory": "512m", "cpus": "0.5", "log": 1000, "pids": None, "workspace": "2 GiB"}},
]
INVALID: list[dict[str, Any]] = [
    {"colour": "red"},
    {"image": "Not An Image"},
    {"command": []},
    {"command": [""]},
    {"steps": []},
    {"steps": ["make"], "command": "make"},
    {"steps": [{"name": "nothing to run"}]},
    {"env": {"1A": "x"}},
    {"env": {"A": True}},
    {"timeout": 0},
    {"timeout": "soon"},
    {"stop_grace": "2h"},
    {"retry": {"max_attempts": "101"}},
    {"retry": {"on": []}},
    {"installer": "conda"},
    {"setup": {"inputs": ["a"]}},
    {"setup": ""},
    {"steps": [{"run": "a", "if": "sometimes"}]},
    {"steps": [{"run": "a", "timeout": "never"}]},
    {"steps": [{"run": "a", "working_directory": ""}]},
    {"steps": [{"run": "a", "env": {"1": "x"}}]},
    {"steps": ["a"] * 101},
    {"services": {"Db": {"image": "x"}}},
    {"services": {"db": {}}},
    {"services": {"db": {"image": "x", "health": {}}}},
    {"services": {"db": {"image": "x", "ready_timeout": "2h"}}},
    {"cache": [{"path": "a"}]},
    {"cache": [{"path": "../a", "key": "k"}]},
    {"limits": {"memory": "lots"}},
    {"limits": {"pids": 0}},
    {"limits": {"cpus": 2000}},
    {"priority": True},
    {"network": "perhaps"},
    {"labels": {"a": "li\nne"}},
]


@pytest.mark.parametrize("spec", VALID, ids=str)
def test_the_schema_takes_what_is_taken(spec: dict[str, Any]) -> None:
    Spec.model_validate(spec)
    jsonschema.validate(spec, SPEC, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("spec", INVALID, ids=str)
def test_the_schema_refuses_what_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Spec.model_validate(spec)
    assert not jsonschema.Draft202012Validator(SPEC).is_valid(spec)


def test_the_schema_describes_every_field() -> None:
    models = [SPEC, *SPEC["$defs"].values()]
    fields = {
        name: field
        for model in models
        for part in (model, *model.get("anyOf", ()))
        for name, field in part.get("properties", {}).items()
        if field != {"type": "null"} and "not" not in field
    }
    assert {"image", "if", "inputs", "ready_timeout", "max_backoff", "pids"} <= set(fields)
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_the_schema_of_the_package_is_served_with_an_id_that_leads_to_it() -> None:
    assert packaged_schema("spec") == json.loads(json.dumps(SPEC))
    assert packaged_schema("spec")["$id"].startswith("urn:")
    jsonschema.Draft202012Validator.check_schema(packaged_schema("events"))
