"""An image with pytest in it, the same one for everybody."""

import asyncio
import hashlib
import platform
import subprocess
import sys
from pathlib import Path

from bench.frame.model import LeftOut
from bench.peers.environments import REQUIREMENTS

_DOCKERFILE = """FROM {base}
COPY wheels /wheels
RUN python3 -m pip install --no-index --find-links=/wheels -r /wheels/image.txt && rm -r /wheels
"""


async def pytest_image(base: str, directory: Path) -> str:
    """Return the name of an image made from `base` and `image.txt`, built if need be. Raises LeftOut.

    What is installed comes from the package index that this machine's pip uses, not from one that a container reaches.
    """
    return await asyncio.to_thread(_build, base, directory)


def _build(base: str, directory: Path) -> str:
    requirements = REQUIREMENTS / "image.txt"
    identity = _output(["docker", "image", "inspect", "--format", "{{.Id}}", base])
    recipe = f"{identity}{_DOCKERFILE}{requirements.read_text()}{platform.python_version()}"
    name = f"ci-bench-pytest:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not _output(["docker", "image", "ls", "--quiet", name]):
        wheels = directory / "image" / "wheels"
        wheels.mkdir(parents=True)
        (wheels / "image.txt").write_text(requirements.read_text())
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
