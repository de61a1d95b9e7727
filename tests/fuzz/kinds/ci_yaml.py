"""The file `ci.yaml`: fields as YAML, with tags, scalars, keys and structures that loaders trip over."""

import json

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import specs, texts
from tests.fuzz.kinds.uploads import uploaded, zipped
from tests.fuzz.message import Message

_TAGS = (
    "int",
    "float",
    "bool",
    "null",
    "timestamp",
    "binary",
    "str",
    "seq",
    "map",
    "set",
    "omap",
    "pairs",
    "merge",
    "x",
)
_TAGGED = (
    '""',
    '"_"',
    '"-"',
    "x",
    '"+"',
    "0x",
    "0b",
    "1:",
    '"٣"',
    "[]",
    "{}",
    "2026-13-45",
    "=",
    "<<",
    ".",
    '"\\ud800"',
)
_SCALARS = (
    "3.10",
    "010",
    "0o10",
    "0x1F",
    "1_000",
    "1:30",
    "+1",
    "1e3",
    "2026-01-01",
    "2026-01-01 10:00:00.0000000000001 +99:99",
    "~",
    "yes",
    ".inf",
    ".nan",
    "!!python/object/apply:os.getcwd []",
    "*a",
    "&a b",
    "<<: {}",
    "? a",
    "|\n  a",
    ">-\n  a",
    "%a",
    "@",
    '"\\ud800"',
    '"a\\0b"',
    '"\\x85\\u2028"',
    "[1, [2, [3]]]",
    "{a: 1, a: 2}",
    "- a",
)
_DIGITS = (20, 400, 4_301, 50_000, 250_000)
_FORMS = (
    "{text}",
    "\ufeff{text}",
    "---\n{text}\n---\n{text}",
    "%YAML 1.1\n---\n{text}",
    "# é\n{text}\n...\n",
    "{text}\t",
    "{text}\0",
    "- {text}",
    "a: &a [x]\nb: *a\n{text}",
    "{text}\n{text}",
)


def generate(choices: Choices) -> Message:
    if choices.chance(4):
        return uploaded(zipped({"a": b""}, {"ci.yaml": choices.pick(("ci.yaml", "a", "b", "/etc/hosts", "../x"))}))
    lines = [_line(choices) for _ in range(choices.between(1, 4))]
    if choices.chance(60):
        lines.insert(0, "command: " + choices.pick(specs.FIELDS["command"]))
    text = "\n".join(lines)
    if choices.chance(15):
        text = choices.pick(_FORMS).replace("{text}", text)
    data = texts.encodable(text)
    if choices.chance(4):
        data = choices.pick((data.decode("utf-8", "replace").encode("utf-16"), b"\xff" + data, data + b" " * 262_144))
    spec = specs.wrapped(specs.pairs(choices)) if choices.chance(15) else None
    if choices.chance(2):
        data, spec = _labels(64).encode(), '{"command": ":", "labels": {"other": ""}}'
    return uploaded(zipped({"ci.yaml": data}), spec)


def _line(choices: Choices) -> str:
    name = choices.pick(tuple(specs.FIELDS))
    if not choices.chance(40):
        return f"{name}: {choices.pick(specs.FIELDS[name])}"
    way = choices.between(1, 7)
    if way == 1:
        return f"{name}: {choices.pick(_SCALARS)}"
    if way == 2:
        tag = choices.pick(_TAGS if choices.chance(30) else _TAGS[:5])
        return f"{name}: !!{tag} {choices.pick(_TAGGED if choices.chance(50) else _TAGGED[:4])}"
    if way == 3:
        return choices.call(_large)
    if way == 4:
        return choices.pick(("labels", "env", "limits", "retry")) + f": {{{_flow(choices)}: {_flow(choices)}}}"
    if way == 5:
        return f"{_flow(choices)}: {choices.pick(_SCALARS)}"
    if way == 6:
        return f"{name}: {json.dumps(texts.text(choices)[:200_000])}"
    return f"{name}: {specs.value(choices)[:200_000]}"


def _flow(choices: Choices) -> str:
    """Return a scalar in one line."""
    plain = choices.pick(("a", "A", "memory", "on", "max_attempts", "x-y", "1", '"\\ud800"', '"a\\0b"', "!!int x"))
    return plain if choices.chance(70) else json.dumps(choices.pick(texts.ODD))


def _large(choices: Choices) -> str:
    digits, depth = choices.pick(_DIGITS), choices.pick((10, 175, 1_000, 10_000))
    return choices.pick(
        (
            "limits: {memory: " + "9" * digits + "}",
            "timeout: " + "9" * digits,
            "timeout: 1" + ":00" * depth + ".0",
            "timeout: 0x" + "f" * digits,
            "env: " + "[" * depth + "]" * depth,
            "env: " + "{a: " * depth + "1" + "}" * depth,
            _labels(choices.pick((63, 64, 65, 5_000))),
            "\n".join(f"x{n}: 1" for n in range(depth)),
            "- " * depth,
            "? " * depth,
        )
    )


def _labels(number: int) -> str:
    return "labels: {" + ", ".join(f"l{n}: a" for n in range(number)) + "}"
