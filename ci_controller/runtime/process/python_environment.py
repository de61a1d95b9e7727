"""A program: makes a virtual environment with pip at the path it is given, like `python -m venv` but many times faster.

venv has pip install itself and compile all of its modules, of which few are ever used; that takes seconds. A wheel of
pure Python is installed by unpacking it, so this unpacks the very wheels that venv would have installed.
"""

import shlex
import sys
import venv
import zipfile
from pathlib import Path

_PROJECTS = ("pip",) if sys.version_info >= (3, 12) else ("pip", "setuptools")


def make_environment(path: Path) -> None:
    """Make a virtual environment. Raises OSError, and whatever venv raises where this Python comes without pip."""
    wheels = bundled_wheels()
    venv.EnvBuilder(symlinks=True, with_pip=not wheels).create(path)
    if not wheels:
        return
    (packages,) = path.glob("lib/*/site-packages")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    for name in ("pip", "pip3"):
        program = path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(path / "bin" / "python"))} -m pip "$@"\n')
        program.chmod(0o755)


def bundled_wheels() -> list[Path]:
    """Return the wheels that this Python installs into environments; empty where they cannot just be unpacked."""
    try:
        import ensurepip
    except ImportError:
        return []
    folders = [Path(ensurepip.__file__).with_name("_bundled")]
    if elsewhere := getattr(ensurepip, "_WHEEL_PKG_DIR", None):  # Distributions keep them apart.
        folders.insert(0, Path(elsewhere))
    for folder in folders:
        found = [sorted(folder.glob(f"{project}-*-none-any.whl")) for project in _PROJECTS]
        wheels = [wheels[-1] for wheels in found if wheels]
        if len(wheels) == len(_PROJECTS) and all(map(_is_plain, wheels)):
            return wheels
    return []


def _is_plain(wheel: Path) -> bool:
    """Return whether everything in the wheel belongs into the directory of modules."""
    with zipfile.ZipFile(wheel) as archive:
        return not any(name.partition("/")[0].endswith(".data") for name in archive.namelist())


if __name__ == "__main__":
    try:
        make_environment(Path(sys.argv[1]))
    except Exception as error:  # As venv's own program does: what is wrong is the machine, not this line.
        sys.exit(f"the virtual environment {sys.argv[1]} could not be made: {error}")
