"""The OpenAPI document as one HTML page, which needs neither scripts nor other files."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from starlette.responses import Response

from ci_server.http.protections import style_policy

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8884; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #8884; }
h3 { margin-top: 2.5rem; }
summary { cursor: pointer; }
"""
_CODE: Final = re.compile(r"`([^`]+)`")
_SCHEMAS: Final = "#/components/schemas/"


def docs_page(document: Mapping[str, Any]) -> Response:
    """Return the page that shows an OpenAPI document."""
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": style_policy(_STYLE),
        "Referrer-Policy": "no-referrer",
    }
    return Response("".join(_page(document)), headers=headers, media_type="text/html")


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{title}: the HTTP API</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    yield from (f"<p>{_text(paragraph)}</p>\n" for paragraph in document["info"]["description"].split("\n\n"))
    prefix = escape(document["servers"][0]["url"].rstrip("/"))
    yield f'<p>The same for programs: <a href="{prefix}/openapi.json"><code>/openapi.json</code></a>; the schema of '
    yield f'<code>ci.yaml</code>: <a href="{prefix}/schema/spec.json"><code>/schema/spec.json</code></a>.</p>\n'
    operations = [
        (f"{method.upper()} {path}", item.get("parameters", []), operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    yield "<h2>Endpoints</h2>\n<table>\n"
    for call, _, operation in operations:
        link = f'<a href="#{operation["operationId"]}"><code>{escape(call)}</code></a>'
        yield f"<tr><td>{link}</td><td>{_text(operation['summary'])}</td></tr>\n"
    yield "</table>\n"
    for call, shared, operation in operations:
        yield from _operation(call, [*shared, *operation.get("parameters", [])], operation)
    yield "<h2>Schemas</h2>\n"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="schema-{name}">{name}</h3>\n'
        yield from _schema(schema)
    yield "</body>\n</html>\n"


def _operation(call: str, parameters: list[Any], operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{operation["operationId"]}"><code>{escape(call)}</code></h3>\n'
    yield f"<p>{_text(operation['summary'])}: {_text(operation['description'])}.</p>\n"
    if scope := operation.get("x-scope"):
        yield f"<p>Scope: <code>{escape(scope)}</code></p>\n"
    if parameters:
        yield "<table>\n<tr><th>parameter</th><th>in</th><th>type</th><th>meaning</th></tr>\n"
        for one in parameters:
            meaning = _text(one.get("description", ""))
            yield f"<tr><td><code>{one['name']}</code></td><td>{one['in']}</td><td>{_type(one['schema'])}</td>"
            yield f"<td>{meaning}</td></tr>\n"
        yield "</table>\n"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(media_type)}</code>, {_type(content['schema'])}</p>\n"
        for example in content.get("examples", {}).values():
            yield f"<pre>{escape(json.dumps(example['value'], indent=2))}</pre>\n"
    yield "<table>\n<tr><th>status</th><th>meaning</th><th>body</th></tr>\n"
    for status, response in operation["responses"].items():
        bodies = "<br>".join(
            f"<code>{escape(media_type)}</code> {_type(content['schema'])}"
            for media_type, content in response.get("content", {}).items()
        )
        yield f"<tr><td>{status}</td><td>{_text(response['description'])}{_headers(response)}</td>"
        yield f"<td>{bodies}</td></tr>\n"
    yield "</table>\n"


def _headers(response: Mapping[str, Any]) -> str:
    names = ", ".join(f"<code>{name}</code>" for name in response.get("headers", ()))
    return f"<br>Headers: {names}" if names else ""


def _schema(schema: Mapping[str, Any]) -> Iterator[str]:
    if description := schema.get("description"):
        yield f"<p>{_text(description)}</p>\n"
    required = schema.get("required", ())
    if fields := schema.get("properties"):
        yield "<table>\n<tr><th>field</th><th>type</th><th>meaning</th></tr>\n"
        for name, field in fields.items():
            optional = "" if name in required else " (optional)"
            yield f"<tr><td><code>{escape(name)}</code>{optional}</td><td>{_type(field)}</td>"
            yield f"<td>{_text(field.get('description', ''))}</td></tr>\n"
        yield "</table>\n"
    yield f"<details><summary>JSON Schema</summary><pre>{escape(json.dumps(schema, indent=2))}</pre></details>\n"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words."""
    if reference := schema.get("$ref"):
        name = reference.removeprefix(_SCHEMAS)
        return f'<a href="#schema-{name}">{name}</a>'
    if data := schema.get("properties", {}).get("data", {}).get("contentSchema"):
        return f"events with {_type(data)}"
    for several, joined in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " with ")):
        if options := schema.get(several):
            return joined.join(dict.fromkeys(filter(None, map(_type, options))))
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if values := schema.get("enum"):
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'anything'}"
    kinds = schema.get("type", "")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return escape(f"{kind} ({schema['format']})" if "format" in schema else kind)


def _text(markdown: str) -> str:
    """Return one line of Markdown as HTML."""
    return _CODE.sub(r"<code>\1</code>", escape(markdown))
