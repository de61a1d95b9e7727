"""The kinds of inputs, each a function from choices to a message."""

from collections.abc import Callable

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import (
    archives,
    ci_yaml,
    forms,
    headers,
    json_bodies,
    python_projects,
    queries,
    raw_http,
    streams,
)
from tests.fuzz.message import Message

GENERATORS: dict[str, Callable[[Choices], Message]] = {
    "json": json_bodies.generate,
    "query": queries.generate,
    "header": headers.generate,
    "form": forms.generate,
    "raw": raw_http.generate,
    "yaml": ci_yaml.generate,
    "python": python_projects.generate,
    "archive": archives.generate,
    "stream": streams.generate,
}
