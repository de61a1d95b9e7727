"""What tox and Nox are configured to install for tests. A noxfile.py is parsed, never run."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ci_server.detection.declarations.python_project import PYPROJECT
from ci_server.detection.declarations.setuptools_files import ini_sections
from ci_server.detection.reading.literals import Evaluator, Names
from ci_server.detection.reading.requirements import invalid, is_identifier, strings, table_at, unusable
from ci_server.detection.reading.statements import follow

_ROOT = re.compile(r"\{(?:toxinidir|tox_root)\}(?:[/\\]|\{/\})?")
_FACTOR = re.compile(r"[A-Za-z0-9_.,!{}-]+:(?:\s|$)")
_FILE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:[ =]\s*)?(\S+)")
_SELF = re.compile(r"(?:(?:-e|--editable)[\s=]*)?\./?(?:\[([^\]]*)\])?")
_PATH = re.compile(
    r"(?:(?P<editable>-e|--editable)[\s=]*)?"
    r"(?P<path>(?(editable)|(?:\./|[\w.][\w.-]*/))[\w.][\w./+-]*(?:\[[\w,. -]*\])?)"
)
_REPOSITORY = re.compile(
    r"(?:(?:-e|--editable)[\s=]*)?(?P<address>(?:git|hg|svn|bzr)\+[a-z+]+://[^\s{}#]+#(?:[^\s{}]*&)?egg=[^\s{}]+)"
)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;(@].*)?")
_REFERENCE = re.compile(r"\{\[([^\[\]{}]+)\]([\w.-]+)\}")
_VARIABLE = re.compile(r"\{env:[^{}:]*:([^{}:]*)\}")
_OPTION_AFTER = re.compile(r"(?<=[^\s-])\s+--[A-Za-z]")
_MAX_DEPTH = 20
_MAX_CHARACTERS = 64 * 1024

_INDEX = re.compile(r"(?P<option>-i|--index-url|--extra-index-url)(?:[ =]\s*)(?P<address>\S+)")
_INDEX_VARIABLE = re.compile(r"PIP_(?P<option>INDEX_URL|EXTRA_INDEX_URL)\s*=\s*(?P<address>\S+)")
_ADDRESS = re.compile(r"https?://[^\s$<>{}]+")

_OPTIONS = ("setenv", "set_env", "deps", "extras", "dependency_groups")

Sections = Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class ToxEnvironment:
    """What an environment for tests installs."""

    requirements: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    """The option, -r or -c, and the path relative to the project."""
    extras: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    """Options of pip that name indexes."""
    file: str = field(default="tox.ini", compare=False)
    """The file that declares the environment."""


def read_tox(
    tox_ini: str, setup_cfg: str, table: Mapping[str, Any], tox_toml: Mapping[str, Any] | None = None
) -> ToxEnvironment:
    """Return the environment of tox.ini, of setup.cfg, of the table tool.tox of pyproject.toml, or of tox.toml.

    tox reads the first of these that exists. Settings for certain Pythons or platforms, and those that depend on the
    machine, are left out.
    """
    legacy = table.get("legacy_tox_ini")
    inis = (
        ("tox.ini", tox_ini),
        ("setup.cfg", setup_cfg),
        ("pyproject.toml", legacy if isinstance(legacy, str) else ""),
    )
    for file, text in inis:
        sections = ini_sections(text, comment="#")
        if "testenv" in sections:
            options: dict[str, Any] = {
                name: _resolved(sections["testenv"].get(name, ""), sections, file) for name in _OPTIONS
            }
            return _read(options, ToxEnvironment(file=file))
    for file, settings in (("pyproject.toml", table), ("tox.toml", tox_toml or {})):
        base = settings.get("env_run_base")
        if isinstance(base, dict):
            options = {name: _References(settings).without(base.get(name)) for name in _OPTIONS}
            variables = table_at(base, "set_env")
            options["set_env"] = [f"{name}={value}" for name, value in variables.items()]
            return _read(options, ToxEnvironment(file=file))
    return ToxEnvironment()


def _read(settings: Mapping[str, Any], found: ToxEnvironment) -> ToxEnvironment:
    for line in _lines(settings.get("deps")):
        take_line(line, found)
    for line in _lines(settings.get("setenv") or settings.get("set_env")):
        if index := _INDEX_VARIABLE.fullmatch(line):
            _take_index(f"--{index['option'].lower().replace('_', '-')}", index["address"], found)
    found.extras += _names(settings.get("extras"))
    found.groups += _names(settings.get("dependency_groups"))
    return found


def _resolved(text: str, sections: Sections, file: str) -> str:
    """Return a value with references to other sections replaced by their values."""
    for _ in range(_MAX_DEPTH):
        room = [_MAX_CHARACTERS]

        def referred(found: re.Match[str], room: list[int] = room) -> str:
            value = sections.get(found[1], {}).get(found[2], found[0])
            room[0] -= len(value)
            if room[0] < 0:
                raise invalid(
                    file, f"a setting of [testenv] has more than {_MAX_CHARACTERS} characters with its references"
                )
            return value

        changed = _VARIABLE.sub(r"\1", _REFERENCE.sub(referred, text))
        if changed == text:
            break
        text = changed
    return text


class _References:
    """Replaces references in settings that are TOML. Each is followed once."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._followed: set[tuple[str, ...]] = set()

    def without(self, value: Any) -> Any:
        """Return a value of the settings; a list with its references replaced by their elements."""
        found, waiting = [], list(reversed(value)) if isinstance(value, list) else []
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                found.append(part)
            elif isinstance(part, dict) and part.get("replace") == "ref":
                waiting += reversed(self._meaning(part))
        return found if isinstance(value, list) else value

    def _meaning(self, reference: Mapping[str, Any]) -> list[Any]:
        path = strings(reference.get("of"))
        if not path and "env" in reference:
            path = ["env", str(reference["env"]), str(reference.get("key"))]
        if not path or tuple(path) in self._followed:
            return []
        self._followed.add(tuple(path))
        meant = table_at(self._settings, *path[:-1]).get(path[-1])
        return meant if isinstance(meant, list) else []


def _take_index(option: str, address: str, found: ToxEnvironment) -> None:
    if not _ADDRESS.fullmatch(address):
        raise unusable(found.file, f"the address of an index, {address[:200]!r}, cannot be given to pip")
    found.indexes += [option, address]


def take_line(line: str, found: ToxEnvironment) -> None:
    """Add a line of a requirement file to `found`; lines that depend on the machine are left out."""
    line = _OPTION_AFTER.split(_ROOT.sub("./", line).replace("{/}", "/"), maxsplit=1)[0].strip()
    if file := _FILE.fullmatch(line):
        path = file[1].removeprefix("./")
        if "{" not in path and ".." not in path.split("/") and not path.startswith("/"):
            found.files.append((f"-{line.lstrip('-')[0]}", path))
    elif index := _INDEX.fullmatch(line):
        _take_index("--index-url" if index["option"] == "-i" else index["option"], index["address"], found)
    elif itself := _SELF.fullmatch(line):
        found.extras += _names((itself[1] or "").replace(",", "\n"))
    elif local := _PATH.fullmatch(line):
        # Folders of the upload are installed as editable in any case, like the project itself.
        found.requirements.append(f"-e ./{local['path'].removeprefix('./')}")
    elif repository := _REPOSITORY.fullmatch(line):
        found.requirements.append(f"-e {repository['address']}")
    elif _NAME.fullmatch(line) and "{" not in line:
        found.requirements.append(line)


def _lines(value: Any) -> list[str]:
    """Return the lines for all environments: lines with factors before a colon are for some."""
    lines = (
        value.replace("\\\n", "").splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    )
    stripped = (line.strip() for text in lines if isinstance(text, str) for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#") and not _FACTOR.match(line)]


def _names(value: Any) -> list[str]:
    return [name.strip() for line in _lines(value) for name in line.split(",") if "{" not in name and name.strip()]


_NOXFILE = "noxfile.py"
_TESTS = re.compile(r"(?:unit_?|py_?)?tests?|testing|pytest|unit", re.IGNORECASE)
_INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url")
_WITH_VALUE = frozenset({*_INDEX_OPTIONS, "-r", "-c", "-e", "--requirement", "--constraint", "--editable"})
_IGNORED_WITH_VALUE = frozenset({
    *("-C", "--config-setting", "--config-settings", "--global-option", "--upgrade-strategy", "--no-binary"),
    *("--only-binary", "-f", "--find-links", "-t", "--target", "--root", "--prefix", "--src", "--report"),
    *("--progress-bar", "--root-user-action", "--python", "--platform", "--python-version", "--implementation"),
    *("--abi", "--cache-dir", "--log", "--proxy", "--retries", "--timeout", "--exists-action", "--trusted-host"),
    *("--cert", "--client-cert", "--use-feature", "--use-deprecated", "--build-constraint", "--build-constraints"),
    *("-b", "--override", "--overrides", "--index", "--default-index", "--index-strategy", "--extra", "-P"),
    *("--upgrade-package", "--reinstall-package", "--refresh-package", "--resolution", "--prerelease", "--link-mode"),
    *("--keyring-provider", "--exclude-newer"),
})  # fmt: skip
"""Options of pip and uv whose value, the next word, must not count as a requirement."""


def read_nox(text: str) -> ToxEnvironment:
    """Return what the sessions for tests install by `session.install` with literal arguments."""
    evaluator, found = Evaluator(), ToxEnvironment(file=_NOXFILE)

    def on_call(call: ast.Call, names: Names, function: ast.FunctionDef | None) -> None:
        if function is None or not _is_for_tests(function):
            return
        match call.func:
            case ast.Attribute(value=ast.Name(id=session), attr="install") if session == _parameter(function):
                words = [word for argument in call.args for word in _install_words(argument, evaluator, names)]
                found.groups += _groups(words)
                for line in _pip_lines(words):
                    take_line(line, found)
            case ast.Attribute(attr="dependency_groups"):
                groups = [evaluator.value(argument, names) for argument in call.args[1:]]
                found.groups += [group for group in groups if isinstance(group, str) and is_identifier(group)]

    follow(text, _NOXFILE, evaluator, on_call)
    return found


def _is_for_tests(function: ast.FunctionDef) -> bool:
    """Return whether a function is a session of Nox with a name for tests."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Attribute) and called.attr == "session":
            pass
        elif not (isinstance(called, ast.Name) and called.id == "session"):
            continue
        keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
        named = [word.value.value for word in keywords if word.arg == "name" and isinstance(word.value, ast.Constant)]
        return _TESTS.fullmatch(str(named[0]) if named else function.name) is not None
    return False


def _parameter(function: ast.FunctionDef) -> str | None:
    return function.args.args[0].arg if function.args.args else None


def _install_words(argument: ast.expr, evaluator: Evaluator, names: Names) -> list[str]:
    value = evaluator.value(argument.value if isinstance(argument, ast.Starred) else argument, names)
    words = value if isinstance(value, list) else [value]
    return [word for word in words if isinstance(word, str)]


def _groups(words: list[str]) -> Iterator[str]:
    """Yield the dependency groups of the project's own pyproject.toml that pip's arguments name."""
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == "--group":
            file, colon, name = (value if equals else "".join(words[number + 1 : number + 2])).rpartition(":")
            if is_identifier(name) and (not colon or file == PYPROJECT):
                yield name


def _pip_lines(words: list[str]) -> Iterator[str]:
    """Yield pip's arguments as lines of a requirement file, without its other options."""
    following = iter(words)
    for word in following:
        if word in _WITH_VALUE:
            yield f"{word} {next(following, '')}"
        elif word in _IGNORED_WITH_VALUE or word == "--group":
            next(following, None)
        elif not word.startswith("-") or word[:2] in ("-r", "-c", "-e") or word.partition("=")[0] in _INDEX_OPTIONS:
            yield word
