"""Which plugins a project's settings of pytest ask for."""

from collections.abc import Iterator
from typing import Any

from ci_server.detection.declarations.pyproject import PYPROJECT, PythonProject
from ci_server.detection.declarations.setup_cfg import ini_sections
from ci_server.detection.reading.requirements import strings, table_at

INI_FILES = ("pytest.ini", ".pytest.ini")
TOML_FILES = ("pytest.toml", ".pytest.toml")


def required_plugins(project: PythonProject) -> Iterator[tuple[str, list[str]]]:
    """Yield the requirements of `required_plugins` by the files that pytest may read it from."""
    for name in TOML_FILES:
        yield name, _words(table_at(project.files.toml(name), "pytest").get("required_plugins"))
    for name in (*INI_FILES, "tox.ini"):
        yield name, _words(ini_sections(project.files.text(name)).get("pytest", {}).get("required_plugins"))
    yield PYPROJECT, _words(project.table("tool", "pytest", "ini_options").get("required_plugins"))
    yield PYPROJECT, _words(project.table("tool", "pytest").get("required_plugins"))
    yield "setup.cfg", _words(project.setup_cfg.required_plugins)


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else strings(value)
