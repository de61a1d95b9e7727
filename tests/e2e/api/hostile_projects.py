"""Small projects that take for ever to read, each with the file that is at fault."""

import io
import zipfile

from tests.helpers.played_api import zipped

_DEPTH = 40
_NAMES = range(30)


def zip_of(*members: tuple[str | zipfile.ZipInfo, str]) -> bytes:
    """Return an archive of members in that order, links among them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _groups() -> str:
    lines = [f'g{n} = [{{include-group = "g{n + 1}"}}, {{include-group = "g{n + 1}"}}]' for n in range(_DEPTH)]
    return "\n".join(["[dependency-groups]", *lines, f'g{_DEPTH} = ["a"]', 'test = [{include-group = "g0"}]'])


def _extras() -> str:
    others = {n: ", ".join(f'"p[e{m}]"' for m in _NAMES if m != n) for n in _NAMES}
    lines = [f"e{n} = [{others[n]}]" for n in _NAMES]
    return "\n".join(["[project]", 'name = "p"', 'version = "1"', "[project.optional-dependencies]", *lines])


HOSTILE: dict[str, tuple[str, bytes]] = {
    "dotted key": ("pyproject.toml", zipped(pyproject__toml=".".join("a" * 100_000) + " = 1")),
    "sum": (
        "setup.py",
        zipped(
            setup__py='from setuptools import setup\nx = ["a"]\n' + "x = x + x\n" * _DEPTH + "setup(tests_require=x)"
        ),
    ),
    "groups": ("pyproject.toml", zipped(pyproject__toml=_groups())),
    "extras": ("pyproject.toml", zipped(pyproject__toml=_extras())),
}
