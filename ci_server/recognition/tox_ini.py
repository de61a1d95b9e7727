"""What a project's tox configuration says its tests need, whatever the Python."""

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_ROOT = re.compile(r"\{(?:toxinidir|tox_root)\}[/\\]?|\{/\}")
_FACTOR = re.compile(r"[A-Za-z0-9_.,!{}-]+:(?:\s|$)")
_FILE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:[ =]\s*)?(\S+)")
_SELF = re.compile(r"(?:-e\s*)?\.(?:\[([^\]]*)\])?")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;(].*)?")


@dataclass(slots=True)
class ToxEnvironment:
    """The base environment of tests."""

    requirements: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    """Pip's option, -r or -c, and a path relative to the project."""
    extras: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def read_tox(tox_ini: str, setup_cfg: str, table: Mapping[str, Any]) -> ToxEnvironment:
    """Return the environment of tox.ini, of setup.cfg, or of the table tool.tox of pyproject.toml.

    What holds only for some Pythons or platforms, and what is put together from other settings, is left out.
    """
    found = ToxEnvironment()
    legacy = table.get("legacy_tox_ini")
    for text in (tox_ini, legacy if isinstance(legacy, str) else "", setup_cfg):
        settings = _testenv(text)
        if settings:
            break
    else:
        base = table.get("env_run_base")
        settings = base if isinstance(base, dict) else {}
    for line in _lines(settings.get("deps")):
        _take(line, found)
    found.extras += _names(settings.get("extras"))
    found.groups += _names(settings.get("dependency_groups"))
    return found


def _testenv(text: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return dict(parser["testenv"]) if parser.has_section("testenv") else {}


def _take(line: str, found: ToxEnvironment) -> None:
    line = _ROOT.sub("", line)
    if file := _FILE.fullmatch(line):
        path = file[1].removeprefix("./")
        if "{" not in path and ".." not in path.split("/") and not path.startswith("/"):
            found.files.append(("-r" if line.lstrip("-").startswith("r") else "-c", path))
    elif itself := _SELF.fullmatch(line):
        found.extras += _names((itself[1] or "").replace(",", "\n"))
    elif _NAME.fullmatch(line) and "{" not in line:
        found.requirements.append(line)


def _lines(value: Any) -> Iterable[str]:
    """Return the lines that hold for every environment: those with factors before a colon do not."""
    lines = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    stripped = (line.strip() for line in lines if isinstance(line, str))
    return [line for line in stripped if line and not line.startswith("#") and not _FACTOR.match(line)]


def _names(value: Any) -> list[str]:
    return [name.strip() for line in _lines(value) for name in line.split(",") if "{" not in name and name.strip()]
