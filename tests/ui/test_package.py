"""The page in the packages: built from its sources where that is possible, and else left out with a word about it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.hatch_ui import digest_of
from tests.helpers.installation import ROOT

_SOURCES = ("ci_server", "ci_ui", "scripts", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources, without what was built of them."""
    leave_out = shutil.ignore_patterns("node_modules", "dist", "__pycache__")
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=leave_out)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def build(checkout: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Build a wheel where there is neither npm nor a package index."""
    programs = checkout / "programs"
    programs.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "UV")}
    environment |= {"PATH": str(programs), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", **settings}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def files_of_page(checkout: Path) -> set[str]:
    """Return the files of the page in the wheel."""
    (wheel,) = (checkout / "dist").glob("*.whl")
    return {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("ci_server/ui/dist/")}


def test_without_npm_the_package_is_built_without_the_page_and_says_so(checkout: Path) -> None:
    built = build(checkout)
    assert built.returncode == 0, built.stderr
    assert "without the page for browsers: there is no npm" in built.stdout + built.stderr
    assert files_of_page(checkout) == set()


@pytest.mark.parametrize("settings", [{"CI_BUILD_UI": "required"}, {"CI": "true"}])
def test_where_the_page_is_required_that_is_an_error(checkout: Path, settings: dict[str, str]) -> None:
    built = build(checkout, **settings)
    assert built.returncode != 0
    assert "there is no npm" in built.stderr


def test_a_page_that_was_built_from_these_sources_is_taken_as_it_is(checkout: Path) -> None:
    dist = checkout / "ci_server/ui/dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("the page")
    (dist / "sources.sha256").write_text(digest_of(checkout / "ci_ui"))
    built = build(checkout, CI_BUILD_UI="required")
    assert built.returncode == 0, built.stderr
    assert "ci_server/ui/dist/index.html" in files_of_page(checkout)


def test_it_can_be_left_out(checkout: Path) -> None:
    assert build(checkout, CI_BUILD_UI="off", CI="true").returncode == 0
    assert files_of_page(checkout) == set()
