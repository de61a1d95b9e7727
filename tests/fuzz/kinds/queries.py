"""Paths and queries of GET and of requests without a body."""

from urllib.parse import quote_from_bytes

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts
from tests.fuzz.message import Message

_PARAMETERS = {
    "/jobs": ("limit", "cursor", "status", "conclusion", "type", "project", "label", "q", "since", "before"),
    "/jobs/{completed}": ("include",),
    "/jobs/{completed}/log": ("attempt",),
    "/jobs/{completed}/log/index": ("attempt", "every", "from_line"),
    "/jobs/{completed}/log/times": ("attempt", "start", "end"),
    "/jobs/{completed}/stream": ("from_beginning", "tail", "since"),
    "/projects/p/trend": ("label", "limit"),
    "/projects/p/tests": ("sort", "runs", "limit"),
    "/jobs/{completed}/events": (),
    "/queue": ("project", "job_id", "limit"),
    "/events": ("project", "type", "label"),
    "/health": (),
    "/ready": (),
    "/metrics": (),
    "/pool": (),
    "/jobs/cleanup": (),
    "/openapi.json": (),
    "/": (),
}
_RIGHT = {
    "limit": ("1", "100"),
    "status": ("queued", "running", "completed"),
    "conclusion": ("succeeded", "failed"),
    "label": ("a:b", ":"),
    "q": ("e", "%", "_", "\\", "a" * 1_001, "a" * 50_000),
    "since": texts.TIMES[:3],
    "before": texts.TIMES[:3],
    "include": ("log",),
    "from_beginning": ("true", "1"),
    "tail": ("0", "5"),
    "attempt": ("1",),
    "sort": ("flaky", "slowest", "failing"),
    "runs": ("1", "100", "101"),
    "every": ("1000", "1000000", "1001"),
    "from_line": ("1", "1000000000000", "0"),
}
_METHODS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE", "get", "X")
_MOST = 60_000


def generate(choices: Choices) -> Message:
    path = choices.pick(tuple(_PARAMETERS))
    query = _many_parameters(choices) if choices.chance(20) else _few_parameters(path, choices)
    if choices.chance(15):
        path = _odd_path(choices)
    method = choices.pick(_METHODS) if choices.chance(30) else "GET"
    return Message(method, (path + query)[:_MOST])


def _few_parameters(path: str, choices: Choices) -> str:
    found = choices.several(3 if choices.chance(30) else 1, lambda c: _parameter(path, c))
    return "?" + "&".join(found) if found else ""


def _many_parameters(choices: Choices) -> str:
    number = choices.pick((10, 1_000, 4_000, 10_000))
    name = choices.pick(("", "a", "q=", "label=a:", "status="))
    return "?" + "&".join(f"{name}{n}" for n in range(number))


def _parameter(path: str, choices: Choices) -> str:
    if _PARAMETERS[path] and not choices.chance(40):
        name = choices.pick(_PARAMETERS[path])
        return f"{name}={_quoted(choices.pick(_RIGHT.get(name, ('a',))), choices)}"
    name = choices.pick((*_PARAMETERS[path], "x")) if choices.chance(90) else _quoted(texts.text(choices), choices)
    value = _quoted(texts.text(choices), choices)
    return choices.pick((f"{name}={value}", name, f"{name}=", f"={value}"))


def _odd_path(choices: Choices) -> str:
    job_id = choices.pick(texts.JOB_IDS)
    return choices.pick(
        (
            f"/jobs/{job_id}",
            f"/jobs/{job_id}/log",
            f"/jobs/{job_id}/stream",
            f"/jobs/{job_id}/",
            f"//jobs/{job_id}",
            f"/jobs/%2e%2e/{job_id}",
            "/" + _quoted(texts.text(choices), choices),
            "/%",
            "/%zz",
            "*",
        )
    )


def _quoted(raw: str, choices: Choices) -> str:
    """Return text as it stands in a URL: quoted, hardly quoted, or with a quote that is broken."""
    data = texts.encodable(raw[:_MOST])
    if not choices.chance(30):
        return quote_from_bytes(data, safe="")
    hardly = quote_from_bytes(data, safe=":/?[]@!$'()*+,;|\"<>\\^`{}%")
    return choices.pick((hardly, quote_from_bytes(data) + "%", quote_from_bytes(data) + "%ff%00"))
