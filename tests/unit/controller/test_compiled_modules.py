"""What is installed from a project's downloads is compiled already, and a changed source is still noticed."""

import os
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_controller.runtime import compiled_modules
from ci_controller.runtime.setups import find_uv

RECORD = "thing.py,,\nthing-1.0.dist-info/METADATA,,\nthing-1.0.dist-info/WHEEL,,\nthing-1.0.dist-info/RECORD,,\n"


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str], Path]:
    """Return what makes a virtual environment of that name with a wheel from the cache, and returns its module."""
    uv = find_uv()
    assert uv is not None, "uv comes with the development packages"
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "WORD = 'before'\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", RECORD)
    environment = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_LINK_MODE": "copy", "UV_OFFLINE": "1"}

    def made(name: str) -> Path:
        place = tmp_path / name
        for words in (("venv", "--python", sys.executable, place), ("pip", "install", "--python", place, wheel)):
            subprocess.run([uv, *words], env=environment, check=True, capture_output=True)
        (module,) = place.glob("lib/*/site-packages/thing.py")
        return module

    return made


def keep(installed: Path, cache: Path) -> None:
    python = installed.parents[3] / "bin" / "python"
    subprocess.run([python, "-I", compiled_modules.__file__, cache], check=True)


def word(installed: Path) -> str:
    """Return what the module says when it is imported."""
    python = installed.parents[3] / "bin" / "python"
    shown = subprocess.run(
        [python, "-c", "import thing; print(thing.WORD)"], check=True, capture_output=True, text=True
    )
    return shown.stdout.strip()


def compiled_of(installed: Path) -> list[Path]:
    return list(installed.parent.glob("__pycache__/thing.*.pyc"))


def test_a_later_installation_is_compiled(install: Callable[[str], Path], tmp_path: Path) -> None:
    first = install("first")
    py_compile.compile(str(first))
    keep(first, tmp_path / "uv")
    second = install("second")
    (compiled,) = compiled_of(second)
    before = compiled.stat()
    assert word(second) == "before"
    assert compiled.stat() == before, "Python has used it as it is"
    second.write_text("WORD = 'later!'\n")
    assert word(second) == "later!"


def test_a_module_of_another_source_is_not_kept(install: Callable[[str], Path], tmp_path: Path) -> None:
    first = install("first")
    first.write_text("WORD = 'edited'\n")
    py_compile.compile(str(first))
    keep(first, tmp_path / "uv")
    assert compiled_of(install("second")) == []


def test_what_is_broken_is_left_out(install: Callable[[str], Path], tmp_path: Path) -> None:
    first = install("first")
    (first.parent / "__pycache__").mkdir()
    Path(py_compile.compile(str(first)) or "").write_bytes(b"short")
    keep(first, tmp_path / "uv")
    assert compiled_of(install("second")) == []
    shutil.rmtree(tmp_path / "uv")
    (tmp_path / "uv").mkdir()
    keep(first, tmp_path / "uv")
