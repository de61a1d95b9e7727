"""The image with pytest for jobs that run tests."""

import asyncio
import hashlib
import platform
import subprocess
import sys
from pathlib import Path

from bench.frame.model import LeftOut

_REQUIREMENTS = "iniconfig==2.3.1\npackaging==26.3\npluggy==1.7.0\npygments==2.21.0\npytest==9.2.0\n"
_DOCKERFILE = """FROM {base}
COPY wheels /wheels
RUN python3 -m pip install --no-index --find-links=/wheels -r /wheels/requirements.txt && rm -r /wheels
"""


async def pytest_image(base: str, directory: Path) -> str:
    """Return the name of an image with pytest on top of `base`, built if it is missing. Raises LeftOut.

    The packages come from the index that this machine's pip uses, since a container may not reach it.
    """
    return await asyncio.to_thread(_build, base, directory)


def _build(base: str, directory: Path) -> str:
    identity = _output(["docker", "image", "inspect", "--format", "{{.Id}}", base])
    recipe = f"{identity}{_DOCKERFILE}{_REQUIREMENTS}{platform.python_version()}"
    name = f"ci-bench-pytest:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not _output(["docker", "image", "ls", "--quiet", name]):
        wheels = directory / "image" / "wheels"
        wheels.mkdir(parents=True)
        requirements = wheels / "requirements.txt"
        requirements.write_text(_REQUIREMENTS)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(wheels)]
        _output([*download, "-r", str(requirements)])
        (wheels.parent / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
        _output(["docker", "build", "--quiet", "--tag", name, str(wheels.parent)])
    return name


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LeftOut(f"there is no image with pytest: {' '.join(command[:4])}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()
