"""What a setup.cfg says, as setuptools reads it."""

import configparser
import re
from collections.abc import Iterable, Mapping

from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import invalid, setuptools_lines

_MAX_FILES = 200
_MAX_READ = 4 * 1024 * 1024
NAME = "setup.cfg"
_REFERENCE = re.compile(r"%(?:(%)|\(([^)]+)\)s)?")
_MAX_DEPTH = configparser.MAX_INTERPOLATION_DEPTH
_MAX_CHARACTERS = 64 * 1024


class SetupCfg:
    """The sections for setuptools. A file that is not of this form says nothing."""

    def __init__(self, files: ProjectFiles) -> None:
        self._files = files
        self._sections = ini_sections(files.text(NAME))

    @property
    def name(self) -> str:
        """The project's name; empty where the file has none."""
        return self._option("metadata", "name").strip()

    @property
    def tests_require(self) -> list[str]:
        """What setuptools once installed for `setup.py test`."""
        return self._requirements("options", "tests_require")

    @property
    def install_requires(self) -> list[str]:
        """What the project needs to run."""
        return self._requirements("options", "install_requires")

    @property
    def extra_names(self) -> list[str]:
        """The names of the extras."""
        return list(self._sections.get("options.extras_require", ()))

    def requirements_of(self, name: str) -> list[str]:
        """Return the requirements of an extra."""
        return self._requirements("options.extras_require", name)

    @property
    def required_plugins(self) -> str:
        """The plugins without which pytest refuses to run."""
        return self._option("tool:pytest", "required_plugins")

    def _requirements(self, section: str, option: str) -> list[str]:
        text = self._option(section, option)
        if text.startswith("file:"):
            paths = [path.strip() for path in text.removeprefix("file:").split(",")]
            return setuptools_lines(read_files(self._files, paths, NAME))
        return setuptools_lines(text, ";")

    def _option(self, section: str, option: str) -> str:
        options = self._sections.get(section, {})
        # setuptools takes a dash for an underscore in its own options, and capitals for small letters.
        found = next((name for name in options if name == option), None) or next(
            (name for name in options if _plain(name) == _plain(option)), None
        )
        return self._interpolated(options, found, 0) if found else ""

    def _interpolated(self, options: Mapping[str, str], name: str, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise invalid(NAME, f"the option {name} refers to others more than {_MAX_DEPTH} deep")
        text, end, length = options[name], 0, 0
        pieces: list[str] = []
        for found in _REFERENCE.finditer(text):
            pieces += text[end : found.start()], self._meaning(options, found, name, depth)
            end = found.end()
            length += len(pieces[-1])
            if length > _MAX_CHARACTERS:
                raise invalid(NAME, f"the option {name} is longer than {_MAX_CHARACTERS} characters")
        return "".join((*pieces, text[end:]))

    def _meaning(self, options: Mapping[str, str], found: re.Match[str], name: str, depth: int) -> str:
        percent, other = found.groups()
        if percent:
            return "%"
        if other is None:
            raise invalid(NAME, f"the option {name} has a % that is neither %% nor the beginning of %(name)s")
        if other not in options:
            raise invalid(NAME, f"the option {name} refers to %({other})s, which is not in its section")
        return self._interpolated(options, other, depth + 1)


def ini_sections(text: str, *, comment: str | None = None) -> dict[str, dict[str, str]]:
    """Return the options of each section, as written; empty where the text is not of this form."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=comment)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {section: dict(parser[section]) for section in parser.sections()}


def read_files(files: ProjectFiles, paths: Iterable[str], source: str) -> list[str]:
    """Return the texts of the files that `source` names, as setuptools does: those that are not there are left out."""
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
