"""The metadata in setup.cfg and setup.py, as setuptools reads it. setup.py is parsed, never run."""

import ast
import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ci_server.detection.reading.literals import Evaluator, Names, texts
from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import invalid, setuptools_lines
from ci_server.detection.reading.statements import follow

_MAX_FILES = 200
_MAX_READ = 4 * 1024 * 1024
SETUP_CFG = "setup.cfg"
_REFERENCE = re.compile(r"%(?:(%)|\(([^)]+)\)s)?")
_MAX_DEPTH = configparser.MAX_INTERPOLATION_DEPTH
_MAX_CHARACTERS = 64 * 1024


class SetupCfg:
    """The options of setup.cfg. A file that is not in this format counts as empty."""

    def __init__(self, files: ProjectFiles) -> None:
        self._files = files
        self._sections = ini_sections(files.text(SETUP_CFG))

    @property
    def name(self) -> str:
        """The project's name; empty if the file has none."""
        return self._option("metadata", "name").strip()

    @property
    def tests_require(self) -> list[str]:
        """The requirements of the former command `setup.py test`."""
        return self._requirements("options", "tests_require")

    @property
    def install_requires(self) -> list[str]:
        """The requirements of the project at run time."""
        return self._requirements("options", "install_requires")

    @property
    def extra_names(self) -> list[str]:
        """The names of the extras."""
        return list(self._sections.get("options.extras_require", ()))

    def requirements_of(self, name: str) -> list[str]:
        """Return the requirements of an extra."""
        return self._requirements("options.extras_require", name)

    @property
    def has_pytest_settings(self) -> bool:
        """Whether pytest takes the file for its settings."""
        return "tool:pytest" in self._sections

    def pytest_setting(self, name: str) -> str:
        """Return a setting of pytest, or empty text."""
        return self._option("tool:pytest", name)

    def _requirements(self, section: str, option: str) -> list[str]:
        text = self._option(section, option)
        if text.startswith("file:"):
            paths = [path.strip() for path in text.removeprefix("file:").split(",")]
            return setuptools_lines(read_files(self._files, paths, SETUP_CFG))
        return setuptools_lines(text, ";")

    def _option(self, section: str, option: str) -> str:
        options = self._sections.get(section, {})
        # setuptools treats dashes as underscores in its options, and ignores case.
        found = next((name for name in options if name == option), None) or next(
            (name for name in options if _plain(name) == _plain(option)), None
        )
        return self._interpolated(options, found, 0) if found else ""

    def _interpolated(self, options: Mapping[str, str], name: str, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise invalid(SETUP_CFG, f"the option {name} refers to others more than {_MAX_DEPTH} deep")
        text, end, length = options[name], 0, 0
        pieces: list[str] = []
        for found in _REFERENCE.finditer(text):
            pieces += text[end : found.start()], self._meaning(options, found, name, depth)
            end = found.end()
            length += len(pieces[-1])
            if length > _MAX_CHARACTERS:
                raise invalid(SETUP_CFG, f"the option {name} is longer than {_MAX_CHARACTERS} characters")
        return "".join((*pieces, text[end:]))

    def _meaning(self, options: Mapping[str, str], found: re.Match[str], name: str, depth: int) -> str:
        percent, other = found.groups()
        if percent:
            return "%"
        if other is None:
            raise invalid(SETUP_CFG, f"the option {name} has a % that is neither %% nor the beginning of %(name)s")
        if other not in options:
            raise invalid(SETUP_CFG, f"the option {name} refers to %({other})s, which is not in its section")
        return self._interpolated(options, other, depth + 1)


def ini_sections(text: str, *, comment: str | None = None) -> dict[str, dict[str, str]]:
    """Return the options of each section, as written; empty if the text is not in this format."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=comment)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {section: dict(parser[section]) for section in parser.sections()}


def read_files(files: ProjectFiles, paths: Iterable[str], source: str) -> list[str]:
    """Return the texts of the files that `source` names. As in setuptools, files that do not exist are skipped."""
    texts: list[str] = []
    room = _MAX_READ
    for path in paths:
        if not path.isprintable():
            continue
        if files.leads_out(path):
            raise invalid(source, f"the file {path!r} is outside of the project")
        texts.append(files.text(path))
        room -= len(texts[-1])
        if room < 0 or len(texts) > _MAX_FILES:
            raise invalid(source, f"it names more than {_MAX_FILES} files, or {_MAX_READ} characters in them")
    return texts


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()


SETUP_PY = "setup.py"


@dataclass(slots=True)
class SetupArguments:
    """The arguments of `setup()` that name requirements."""

    extras: dict[str, list[str]] = field(default_factory=dict)
    """`extras_require`: name → requirements, as far as they can be read."""
    tests_require: list[str] = field(default_factory=list)
    name: str = ""
    install_requires: list[str] = field(default_factory=list)


def read_setup_py(text: str) -> SetupArguments:
    """Return the arguments that are made from literals. Others count as absent.

    Raises InvalidRequest if they would become too large.
    """
    evaluator, found = Evaluator(), SetupArguments()

    def on_call(call: ast.Call, names: Names, _: ast.FunctionDef | None) -> None:
        match call.func:
            case ast.Name(id="setup") | ast.Attribute(attr="setup"):
                arguments = evaluator.keywords(call.keywords, names)
                extras = arguments.get("extras_require")
                if isinstance(extras, dict):
                    found.extras |= {name: texts(value) for name, value in extras.items()}
                found.install_requires += texts(arguments.get("install_requires"))
                found.tests_require += texts(arguments.get("tests_require"))
                if isinstance(arguments.get("name"), str):
                    found.name = arguments["name"]

    follow(text, SETUP_PY, evaluator, on_call)
    return found
