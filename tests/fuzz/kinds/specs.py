"""What jobs are to do, as JSON: fields that are right, and values that are not.

Values are JSON text, so that numbers can be what no Python number is. Commands do nothing and take no time.
"""

import json

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts

FIELDS: dict[str, tuple[str, ...]] = {
    "image": ('"python:3.12-slim"', '"ghcr.io/a/b:c"', '"a@sha256:' + "0" * 64 + '"'),
    "command": ('":"', '"echo é"', '"exit 3"', '["echo", "$HOME", "it\'s", ""]', '["true"]', '"cat <<E\\na\\nE\\n"'),
    "steps": ('[{"run": ":"}]', '[{"name": "a", "run": "exit 2"}, {"run": "x"}]', '[{"name": "é \'", "run": "cd ."}]'),
    "env": ("{}", '{"A": "1", "B": 2.5}', '{"PATH": ""}', '{"A": "it\'s\\n$x`:`"}'),
    "timeout": ("5", '"10s"', '"1h30m"', "0.001", "1e308"),
    "no_output_timeout": ("5", '"1m"'),
    "stop_grace": ("0", '"1s"'),
    "limits": ("{}", '{"log": "1m"}', '{"memory": "512m"}', '{"cpus": 0.5, "pids": 10}', '{"workspace": "1g"}'),
    "retry": ('{"max_attempts": 2, "backoff": 0.001}', '{"on": "failed"}', '{"on": ["failed", "errored"]}'),
    "network": ("true", "false"),
    "setup": ('":"', '{"run": "true"}', '{"run": ":", "inputs": ["a/**"], "pinned": true}'),
    "fresh": ("true", "false"),
    "cache": ("[]", '[{"path": "~/.a", "key": "k-{{ job_id }}", "restore": "k-"}]', '[{"path": "a", "key": "k"}]'),
    "artifacts": ("[]", '["a/**", "!b"]', '[{"name": "n", "paths": ["*.txt"], "when": "failure", "retention": "1d"}]'),
    "reports": ("{}", '{"junit": "a/*.xml"}', '{"junit": ["a"], "coverage": ["b"], "sarif": ["c"]}'),
    "installer": ('"auto"', '"uv"', '"pip"'),
    "services": ("{}", '{"db": {"image": "a/b:c"}}', '{"s": {"image": "i", "env": {"A": "1"}, "command": ["x"]}}'),
    "concurrency": ('{"group": "deploy"}', '{"group": "é", "cancel_running": true}'),
    "secrets": ("[]", '["TOKEN"]', '{"TOKEN": null}', '{"A": "B", "C": {"file": "c.txt"}}'),
    "untrusted": ("true", "false"),
    "priority": ("0", "-5"),
    "project": ('"p"', '"é"'),
    "labels": ("{}", '{"a": "b"}', '{"é": ""}'),
}
INNER = ("memory", "log", "workspace", "pids", "cpus", "max_attempts", "on", "backoff", "max_backoff", "name", "run")
_TIMES = (20, 300, 3_000, 60_000)
_MOST = 990_000


def pairs(choices: Choices) -> list[str]:
    """Return fields of a spec with their values, most of them right."""
    names = ["command" if choices.chance(70) else "steps", *choices.several(3, lambda c: c.pick(tuple(FIELDS)))]
    found = [f"{json.dumps(name)}: {choices.pick(FIELDS[name])}" for name in dict.fromkeys(names)]
    if choices.chance(40):
        found.append(choices.call(_wrong_value, _wrong_inside, _unknown, _many, _quantity))
    return found


def wrapped(fields: list[str]) -> str:
    return "{" + ", ".join(fields) + "}"


def value(choices: Choices) -> str:
    """Return JSON of any kind."""
    return choices.call(_number, _string, _list, _object, _keyword)


def _wrong_value(choices: Choices) -> str:
    return f"{json.dumps(choices.pick(tuple(FIELDS)))}: {value(choices)}"


def _wrong_inside(choices: Choices) -> str:
    outer = choices.pick(("limits", "retry", "steps", "env", "labels"))
    inner = f"{{{json.dumps(choices.pick(INNER))}: {value(choices)}}}"
    return f'"{outer}": ' + (f"[{inner}]" if outer == "steps" else inner)


def _unknown(choices: Choices) -> str:
    return f"{_string(choices)}: {value(choices)}"


def _many(choices: Choices) -> str:
    """Return a field whose value has very many parts, or many fields."""
    times = choices.pick(_TIMES)
    part = choices.pick(("1", '"x"', "null", "[]", "{}", '"failed"'))
    listed = ", ".join([part] * min(times, _MOST // (len(part) + 2)))
    numbered = range(min(times, _MOST // 12))
    return choices.pick(
        (
            f'"command": [{listed}]',
            f'"steps": [{listed}]',
            f'"retry": {{"on": [{listed}]}}',
            '"env": {' + ", ".join(f'"A{n}": ""' for n in numbered) + "}",
            '"labels": {' + ", ".join(f'"{n}": ""' for n in numbered) + "}",
            ", ".join(f'"{n}": 1' for n in numbered),
        )
    )


def _quantity(choices: Choices) -> str:
    """Return a quantity of very many digits."""
    digits = choices.pick(("9", "1", "0")) * choices.pick((20, 33, 400, 4_301, 100_000, 999_000))
    written = choices.pick((f'"{digits}"', digits, f'"{digits}m"', f'"0.{digits}"'))
    return choices.pick(('"limits": {"memory": {}}', '"limits": {"log": {}}', '"timeout": {}')).replace("{}", written)


def _number(choices: Choices) -> str:
    digits = choices.pick((1, 2, 19, 20, 309, 4301, 100_000)) if choices.chance(90) else choices.pick(texts.HUGE)
    return choices.pick(("0", "-0", "-1", "0.1", "1e400", "1e-400", "1E5", "NaN", "Infinity", "9" * digits))


def _string(choices: Choices) -> str:
    return json.dumps(texts.text(choices)[:_MOST])


def _list(choices: Choices) -> str:
    if choices.chance(10):
        depth = choices.pick((2, 200, 2_000, 100_000))
        return "[" * depth + "]" * depth
    return "[" + ", ".join(choices.several(3, _leaf)) + "]"


def _object(choices: Choices) -> str:
    if choices.chance(10):
        depth = choices.pick((2, 200, 2_000, 100_000))
        return '{"a":' * depth + "1" + "}" * depth
    return "{" + ", ".join(choices.several(3, lambda c: f"{_string(c)}: {_leaf(c)}")) + "}"


def _keyword(choices: Choices) -> str:
    return choices.pick(("null", "true", "false"))


def _leaf(choices: Choices) -> str:
    return choices.call(_number, _string, _keyword)
