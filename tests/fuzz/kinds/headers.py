"""Headers that the service reads, with values of any kind."""

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts
from tests.fuzz.message import Message

_VALUES: dict[str, tuple[str, ...]] = {
    "Origin": ("null", "http://[", "http://[::1", "http://a@b", "http://127.0.0.1:1", "http://é", "//", "http://a:b:c"),
    "Host": ("", "localhost", "evil.example", "[::1]", "[", "127.0.0.1:", "a b", "127.0.0.1:99999", "localhost."),
    "Referer": ("http://[", "/"),
    "Sec-Fetch-Site": ("same-origin", "cross-site", "none", "x"),
    "Accept": ("text/plain", "*/*;q=x", "application/openmetrics-text;version=1.0.0", ";", ",,,", "a/b;q=1e400"),
    "Range": ("bytes=0-0", "bytes=-1", "bytes=5-1", "bytes=0-,1-", "bytes=" + "9" * 400 + "-", "lines=1-2", "bytes=٣-"),
    "If-Range": ('"x"', "Sat, 01 Jan 2026 00:00:00 GMT", "W/"),
    "If-None-Match": ("*", '"x"'),
    "Last-Event-ID": ("0", "1:5", "x", "-1", "1:" + "9" * 30, "99999:0", "1:1:1", "9" * 4301, "٣"),
    "Content-Type": (
        "application/json",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "a" * 257,
        'multipart/form-data; boundary="a',
        "multipart/form-data; boundary=a; boundary=b",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded",
        ";;;=",
    ),
    "Content-Encoding": ("gzip", "x"),
    "Expect": ("100-continue", "x"),
    "Connection": ("close", "Upgrade, HTTP2-Settings", "keep-alive, x", "Upgrade"),
    "Upgrade": ("h2c", "websocket"),
    "HTTP2-Settings": ("AAMAAABkAAQAAP__",),
    "Idempotency-Key": ("x", '"x"'),
    "Cookie": ("a=b", "="),
    "X-Forwarded-For": ("1.2.3.4",),
    "X-Forwarded-Proto": ("https",),
    "Authorization": ("Bearer x", "Basic !", "Basic OTo="),
    "X": ("",),
}
_REQUESTS = (
    ("GET", "/jobs?limit=2", b""),
    ("GET", "/jobs/{completed}", b""),
    ("GET", "/jobs/{completed}/log", b""),
    ("GET", "/jobs/{completed}/stream", b""),
    ("GET", "/metrics", b""),
    ("GET", "/health", b""),
    ("POST", "/jobs", b'{"type":"echo"}'),
    ("POST", "/jobs/cleanup", b'{"keep":2147483647}'),
    ("POST", "/submit-async", b"--a\r\n\r\n"),
    ("DELETE", "/jobs/01900000-0000-7000-8000-000000000000", b""),
    ("POST", "/jobs/01900000-0000-7000-8000-000000000000/cancel", b""),
)
_MANY = (10, 90, 101, 1_000, 20_000)


def generate(choices: Choices) -> Message:
    method, target, body = choices.pick(_REQUESTS)
    found = [_header(choices) for _ in range(choices.between(1, 4))]
    if choices.chance(5):
        found += [("X-A", "b")] * choices.pick(_MANY)
    return Message(method, target, tuple(found), body)


def _header(choices: Choices) -> tuple[str, str]:
    name = choices.pick(tuple(_VALUES))
    value = choices.pick(_VALUES[name]) if choices.chance(75) else texts.text(choices)
    cased = choices.pick((name, name.lower(), name.upper()))
    return cased, texts.line_text(value)
