"""Python projects: what they declare in their files, rightly, oddly, and so that reading it takes for ever."""

import json
from collections.abc import Callable

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts
from tests.fuzz.kinds.python_bombs import PYPROJECT_BOMBS, SETUP_PY_BOMBS
from tests.fuzz.kinds.uploads import uploaded, zipped
from tests.fuzz.message import Message

REQUIREMENTS = (
    "pytest",
    "pytest >= 8 ; python_version > '3'",
    "demo[test]",
    "x @ file:///nowhere",
    "x @ git+https://fuzz.invalid/x",
    "a; b",
    "-e .",
    ".",
    "-r other.txt",
    "--hash=sha256:00",
    "--index-url https://fuzz.invalid",
    "x==^1",
    "%(x)s",
    "file: a.txt",
    "{posargs}",
    "a\\",
    "pytest # note",
)
_TABLES = (
    "project",
    "project.optional-dependencies",
    "dependency-groups",
    "build-system",
    "tool.poetry",
    "tool.poetry.dependencies",
    "tool.poetry.dev-dependencies",
    "tool.poetry.group.test.dependencies",
    "tool.poetry.extras",
    "tool.uv",
    "tool.uv.sources",
    "tool.pdm.dev-dependencies",
    "tool.pdm.version",
    "tool.hatch.envs.test",
    "tool.tox",
    "tool.tox.env_run_base",
    "tool.pytest.ini_options",
    "tool.setuptools.dynamic",
    "tool.flit.metadata.requires-extra",
)
_KEYS = ("name", "test", "dev", "dependencies", "dynamic", "requires", "build-backend", "deps", "extras", "x", '"a.b"')
_SECTIONS = (
    "metadata",
    "options",
    "options.extras_require",
    "testenv",
    "tox",
    "pytest",
    "tool:pytest",
    "DEFAULT",
    "a b",
)
_OPTIONS = ("name", "tests_require", "install_requires", "test", "deps", "extras", "dependency_groups", "commands")
_PLACES = ("requirements.txt", "requirements-test.txt", "requirements/dev.in", "tests/requirements.txt", "other.txt")
_ALSO = (
    "tests/test_a.py",
    "test_a.py",
    "conftest.py",
    "pytest.ini",
    "tox.toml",
    "pytest.toml",
    "PKG-INFO",
    "Pipfile.lock",
)


def generate(choices: Choices) -> Message:
    makers = tuple(_FILES)
    files: dict[str, bytes] = {}
    for _ in range(choices.between(1, 3)):
        name = choices.pick(makers)
        data = texts.encodable(_FILES[name](choices))
        if choices.chance(4):
            data = choices.pick(
                (b"\xff" + data, data.decode("utf-8", "replace").encode("utf-16"), data * 3, b"\0" + data)
            )
        files[choices.pick(_PLACES) if name == "requirements.txt" else name] = data
    for name in choices.several(2, lambda c: c.pick(_ALSO)):
        files[name] = texts.encodable(_ini(choices))
    links = {"linked": choices.pick((".", "setup.py", "..", "a", "linked"))} if choices.chance(4) else {}
    if choices.chance(4) and "tox.ini" not in files:
        links["tox.ini"] = choices.pick((".", "setup.cfg", "tox.ini", "tests"))
    inside = choices.pick(("", "demo/")) if choices.chance(10) else ""
    return uploaded(zipped({inside + name: data for name, data in files.items()}, links))


def _string(choices: Choices) -> str:
    """Return text in quotes, as TOML and Python take it: most of it a requirement."""
    if choices.chance(75):
        return json.dumps(choices.pick(REQUIREMENTS))
    return json.dumps(texts.text(choices)[:20_000]) if choices.chance(70) else choices.pick(
        ('"\\ud800"', '"a\\u0000b"', '"\\U0010ffff"', "'a'", '"""\na"""', "'''a'''")
    )  # fmt: skip


def _listed(choices: Choices) -> str:
    return "[" + ", ".join(choices.several(3, _string)) + "]"


def _value(choices: Choices) -> str:
    return choices.call(_listed, _string, _inline, _scalar)


def _inline(choices: Choices) -> str:
    name = choices.pick(
        ("version", "extras", "path", "git", "file", "include-group", "markers", "optional", "python", "url")
    )
    return f"{{{name} = {choices.call(_string, _scalar, _listed)}}}"


def _scalar(choices: Choices) -> str:
    return choices.pick(
        ("true", "1", "-0.0", "nan", "inf", "1979-05-27T07:32:00Z", "1e400", "0x1_0", "{}", "[[[]]]", "9" * 4301)
    )


def _pyproject(choices: Choices) -> str:
    if choices.chance(6):
        return choices.pick(PYPROJECT_BOMBS)(choices)
    lines = ["[project]", 'name = "demo"', 'version = "1"'] if choices.chance(60) else []
    for table in choices.several(3, lambda c: c.pick(_TABLES)):
        lines.append(f"[{table}]")
        lines += choices.several(3, _toml_line)
    return "\n".join(lines)


def _toml_line(choices: Choices) -> str:
    if choices.chance(15):
        constraint = choices.pick(("^", "~", ">=", "==", "~=", "", "^1.2 || ^", "*"))
        digits = "9" * choices.pick((1, 20, 4_301, 10_000))
        return f'{choices.pick(_KEYS)} = "{constraint}{digits}' + choices.pick(('"', '.0"', '", x', '.9.9.9"'))
    if choices.chance(15):
        group = choices.pick(("test", "dev", "none", "x"))
        return f'{choices.pick(_KEYS)} = [{{include-group = "{group}"}}, "pytest"]'
    return f"{choices.pick(_KEYS)} = {_value(choices)}"


def _setup_py(choices: Choices) -> str:
    if choices.chance(6):
        return choices.pick(SETUP_PY_BOMBS)(choices)
    lines = ["from setuptools import setup", *choices.several(3, _statement)]
    arguments = choices.several(3, _argument)
    return "\n".join([*lines, f"setup({', '.join(arguments)})"])


def _statement(choices: Choices) -> str:
    value = choices.call(_listed, _string, lambda _: "{}", lambda _: "x + y", lambda _: "None", _expression)
    return choices.pick(("x = {}", "y = {}", "x: list = {}", "x[{}] = y", "d = dict(a={})", "x += {}", "d[{}] = 1"))\
        .replace("{}", value, 1)  # fmt: skip


def _expression(choices: Choices) -> str:
    return choices.pick(
        (
            "{{}: 1}",
            "{[]: 1}",
            "{**x}",
            "[*x, *y]",
            "x * 1000000000",
            '"a" * 99999999999',
            "-1",
            "x[0]",
            "f'{x}'",
            "open('a').read()",
            "[i for i in x]",
            "(" * 150 + ")" * 150,
            "(" * 5_000 + ")" * 5_000,
            "1" * 5_000,
            "b'\\xff'",
            "'\\ud800'",
            "'a\\0b'",
            "lambda: x",
            "x if y else x",
        )
    )


def _argument(choices: Choices) -> str:
    name = choices.pick(("tests_require", "extras_require", "install_requires", "name", "use_scm_version"))
    if choices.chance(20):
        return choices.pick(("**x", "*x", "**d", "**{'tests_require': x}"))
    value = choices.call(_listed, _string, lambda _: "x", _expression, lambda c: f"{{'test': {_listed(c)}}}")
    return f"{name}={value}"


def _ini(choices: Choices) -> str:
    lines = []
    for section in choices.several(3, lambda c: c.pick(_SECTIONS)):
        lines.append(f"[{section}]")
        lines += choices.several(3, _ini_line)
    return "\n".join(lines)


def _ini_line(choices: Choices) -> str:
    value = choices.pick(REQUIREMENTS) if choices.chance(70) else texts.text(choices)[:20_000]
    return choices.pick(_OPTIONS) + choices.pick((" = ", ": ", " =\n  ", "", "=\n\n  ")) + value


def _requirements(choices: Choices) -> str:
    return "\n".join(choices.several(4, lambda c: c.pick(REQUIREMENTS) if c.chance(75) else texts.text(c)[:20_000]))


def _pipfile(choices: Choices) -> str:
    tables = choices.several(2, lambda c: c.pick(("packages", "dev-packages", "requires", "[source]")))
    return "\n".join(line for table in tables for line in (f"[{table}]", *choices.several(2, _toml_line)))


_FILES: dict[str, Callable[[Choices], str]] = {
    "pyproject.toml": _pyproject,
    "setup.py": _setup_py,
    "setup.cfg": _ini,
    "tox.ini": _ini,
    "requirements.txt": _requirements,
    "Pipfile": _pipfile,
}
