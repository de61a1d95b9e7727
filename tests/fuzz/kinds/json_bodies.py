"""Bodies of `POST /jobs` and `POST /jobs/cleanup`."""

import json

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import specs, texts
from tests.fuzz.message import Message

_CLEANUP: dict[str, tuple[str, ...]] = {
    "older_than": ('"30d"', "1e9"),
    "keep": ("100000", "2147483647"),
    "project": ('"p"',),
    "conclusion": ('"failed"', '["failed", "cancelled"]'),
    "dry_run": ("true",),
}
_MOST = 1024 * 1024


def generate(choices: Choices) -> Message:
    target = "/jobs/cleanup" if choices.chance(15) else "/jobs"
    document = specs.wrapped(_cleanup(choices) if "cleanup" in target else choices.call(_container, _builtin))
    body = texts.encodable(document)
    if choices.chance(8):
        body = _broken(choices, body)
    return Message("POST", target, (("Content-Type", "application/json"),), body[: _MOST + 1])


def _container(choices: Choices) -> list[str]:
    fields = specs.pairs(choices)
    if choices.chance(20):
        inner = [fields.pop() for _ in range(choices.below(len(fields) + 1))]
        fields.append(f'"payload": {specs.wrapped(inner) if choices.chance(80) else specs.value(choices)}')
    return fields


def _builtin(choices: Choices) -> list[str]:
    kind = choices.pick(('"echo"', '"sleep"', '"container"', '"script.pull"', "null", "1", "[]", '"\\ud800"'))
    payload = choices.pick(("{}", '{"ms": 1}', '{"message": "é"}', '{"ms": -1}', '{"ms": 1e400}', '{"ms": true}'))
    if choices.chance(30):
        payload = specs.value(choices)
    elif choices.chance(10):
        payload = '{"a": [' + "1," * choices.pick((1_000, 100_000, 500_000)) + "1]}"
    more = choices.several(2, lambda c: f'"{(name := c.pick(("priority", "project", "labels")))}": {_right(c, name)}')
    return [f'"type": {kind}', f'"payload": {payload}', *more]


def _right(choices: Choices, name: str) -> str:
    return choices.pick(specs.FIELDS[name]) if choices.chance(80) else specs.value(choices)


def _cleanup(choices: Choices) -> list[str]:
    """Return fields of a request that deletes nothing that other inputs look at."""
    names = dict.fromkeys(["keep", *choices.several(2, lambda c: c.pick(tuple(_CLEANUP)))])
    found = [f"{json.dumps(name)}: {choices.pick(_CLEANUP[name])}" for name in names]
    if choices.chance(40):
        name = choices.pick(("older_than", "project", "conclusion", "dry_run", "x"))
        many = "[" + "1," * choices.pick((10, 1_000, 400_000)) + "1]"
        found.append(f"{json.dumps(name)}: {many if choices.chance(40) else specs.value(choices)}")
    return found


def _broken(choices: Choices, body: bytes) -> bytes:
    """Return the document in a form that is not, or hardly, JSON."""
    middle = len(body) // 2
    return choices.pick(
        (
            body[:middle],
            b"\xef\xbb\xbf" + body,
            body.decode("utf-8", "replace").encode("utf-16"),
            body + b"x",
            body + body,
            b"[" + body + b"]",
            body.replace(b'"', b"'"),
            body[:middle] + b"\xff" + body[middle:],
            body[:middle] + b"\\ud800" + body[middle:],
            b"{" + body[1:-1] + b"," + body[1:-1] + b"}",
            body + b" " * _MOST,
            b"",
            b"null",
            b"1" * 999_999,
        )
    )
