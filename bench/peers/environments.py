"""Virtual environments for what we are measured against, made when they are first needed and kept in the cache."""

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from bench.frame.model import LeftOut
from tests.engine.api import EngineError
from tests.engine.packages import install_packages
from tests.helpers.installation import ROOT

CACHE = ROOT / ".cache" / "bench"
REQUIREMENTS = Path(__file__).parent
REDIS = "redis-server"


def environment_of(name: str) -> Path:
    """Return the Python of the environment that `NAME.txt` describes. Raises LeftOut where it cannot be made."""
    requirements = REQUIREMENTS / f"{name}.txt"
    recipe = requirements.read_bytes() + platform.python_version().encode()
    place = CACHE / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        print(f"bench: installing {name} into {place}, once", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        _succeed(f"no environment can be made for {name}", [sys.executable, "-m", "venv", str(place)])
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            str(requirements),
        ]
        _succeed(f"{name} cannot be installed", install)
        (place / "complete").touch()
    return python


def version_of(name: str, package: str) -> str:
    """Return which version of a package `NAME.txt` asks for."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.partition("==")[0].lower() == package)


def redis_server() -> str:
    """Return the path of Debian's Redis, installed if need and right be. Raises LeftOut where there is none."""
    if shutil.which(REDIS) is None:
        try:
            install_packages([REDIS])
        except EngineError as exc:
            raise LeftOut(f"there is no {REDIS}: {exc}") from exc
    return shutil.which(REDIS) or REDIS


def redis_version() -> str:
    """Return the version of the Redis that is here."""
    told = subprocess.run([REDIS, "--version"], capture_output=True, text=True, check=True).stdout
    return next(word.removeprefix("v=") for word in told.split() if word.startswith("v="))


def _succeed(trouble: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LeftOut(f"{trouble}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
