"""Programs that tests run besides Python."""

import os
import shutil

import pytest

from tests.engine.packages import can_install, install_packages


def provide(*programs: str) -> None:
    """See to it that the programs, named as Debian's packages are, can be run; fail in CI where they cannot."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and can_install():
        install_packages(missing)
    elif missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"these programs are missing: {', '.join(missing)}")
