"""What a noxfile.py installs for tests."""

from pathlib import Path

import pytest

from ci_server.detection.declarations.runners import ToxEnvironment, read_nox
from tests.helpers.untrusted import pip_calls


def test_a_session_for_tests() -> None:
    found = read_nox(
        """
import nox
NEEDS = ["pytest>=8", "mock"]

@nox.session(python=["3.12", "3.13"])
def tests(session: nox.Session) -> None:
    session.install("-r", "needs.txt", "-e", ".[fast]", *NEEDS, "--no-index", silent=True)
    session.install("-c", "constraints.txt", "cov")
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"), f"x{version}")
    session.run("pytest")
    other.install("not")

@nox.session
def lint(session):
    session.install("ruff")
"""
    )
    assert found == ToxEnvironment(
        ["pytest>=8", "mock", "cov"], [("-r", "needs.txt"), ("-c", "constraints.txt")], ["fast"], ["test"]
    )


@pytest.mark.parametrize(
    ("decorator", "name", "taken"),
    [
        ("@nox.session", "tests", True),
        ("@session(reuse_venv=True)", "unit_tests", True),
        ("@nox_poetry.session(name='test')", "run", True),
        ("@nox.session(name='docs')", "tests", False),
        ("@nox.session", "integration", False),
        ("@fixture", "tests", False),
        ("", "tests", False),
    ],
)
def test_which_sessions(decorator: str, name: str, taken: bool) -> None:
    text = f"{decorator}\ndef {name}(s):\n    s.install('mock')\n"
    assert read_nox(text).requirements == (["mock"] if taken else [])


def test_it_counts_as_tox_does(tmp_path: Path) -> None:
    text = "@nox.session\ndef tests(session):\n    session.install('.[a]', 'mock')\n"
    pyproject = '[build-system]\n[project]\nname = "thing"\n[project.optional-dependencies]\na = ["x"]\n'
    files = {"noxfile.py": text, "pyproject.toml": pyproject, "requirements-dev.txt": ""}
    assert pip_calls(tmp_path, files) == [["-e", ".[a]", "mock", "pytest"]]


def test_values_of_options_are_no_requirements() -> None:
    """An index may have packages of any name, such as `tests`."""
    found = read_nox(
        """
@nox.session
def tests(session):
    session.install(".", "cov", "--group", "tests", "--group=docs", "--upgrade-strategy", "eager", "mock")
    session.install("--group", "pyproject.toml:typing", "--group", "libs/pyproject.toml:other", "-C", "debug=true")
"""
    )
    assert found.requirements == ["cov", "mock"]
    assert found.groups == ["tests", "docs", "typing"]


def test_a_group_of_the_project(tmp_path: Path) -> None:
    text = "@nox.session\ndef tests(session):\n    session.install('.', '--group', 'checks')\n"
    pyproject = '[build-system]\n[project]\nname = "thing"\n[dependency-groups]\nchecks = ["mock"]\n'
    assert pip_calls(tmp_path, {"noxfile.py": text, "pyproject.toml": pyproject}) == [["-e", ".", "mock", "pytest"]]
