"""After an edit of one line: from `ci run` to the verdict, against `docker build && docker run` and `docker exec`."""

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.frame.engine import LABEL, RawEngine
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, LeftOut, Series
from bench.frame.turns import in_turns
from bench.server import Pool, environment_waits, serving

NAME = "rerun"
TITLE = "Rerun: an edit of one line to its verdict"
REQUIREMENTS = "numpy\npandas\nrequests\npytest\n"
TEST = """import numpy
import pandas
import requests


def test_frame() -> None:
    assert pandas.DataFrame({"a": numpy.arange(4)}).a.sum() == 6


def test_session() -> None:
    assert requests.Session().headers
"""
_DOCKERFILE = """FROM {base}
WORKDIR /project
COPY wheels /wheels
COPY requirements.txt .
RUN python3 -m pip install --no-index --find-links=/wheels -r requirements.txt && rm -r /wheels
COPY . .
CMD ["python3", "-m", "pytest", "-v"]
"""
_BEGINS = b"test session starts"


@dataclass(frozen=True, slots=True)
class Taken:
    """The seconds of one rerun since the command began."""

    first: float
    """To the first output of the tests."""
    verdict: float


@dataclass
class Project:
    """The project, and how each contender runs its tests."""

    directory: Path
    wheels: Path
    base: str
    url: str
    ways: Counter[str] = field(default_factory=Counter)
    """How our jobs started: `warm, prepared` and the like."""
    edits: int = 0

    @property
    def image(self) -> str:
        return f"ci-bench-rerun:{hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]}"

    @property
    def container(self) -> str:
        return self.image.replace(":", "-")

    def edit(self) -> None:
        """Change one line."""
        self.edits += 1
        (self.directory / "tests" / "test_it.py").write_text(f"{TEST}\n\n# edit {self.edits}\n")

    async def ours(self) -> Taken:
        """Run `ci run`, as in a terminal."""
        self.edit()
        taken = await timed(command_line(self))
        await self._note_way()
        return taken

    async def _note_way(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            (job,) = (await client.get(f"{self.url}/jobs?limit=1")).raise_for_status().json()
        prepared = "prepared" if (job["environment"] or {}).get("hit") else "not prepared"
        self.ways[f"{job['start_way']}, {prepared}"] += 1

    async def by_build(self) -> Taken:
        """Run `docker build && docker run`, with the layers of earlier builds."""
        self.edit()
        begun = time.perf_counter()
        await run(["docker", "build", "--quiet", "--tag", self.image, str(self.directory)])
        built = time.perf_counter() - begun
        taken = await timed(["docker", "run", "--rm", "--label", LABEL, self.image])
        return Taken(built + taken.first, built + taken.verdict)

    async def by_exec(self) -> Taken:
        """Run the tests in a container that has everything, and has the project mounted."""
        self.edit()
        return await timed(["docker", "exec", self.container, "python3", "-m", "pytest", "-v"])


async def measure(lab: Lab) -> list[Figure]:
    """Measure all contenders in turns, and how our reruns start."""
    settings = {"CI_DEFAULT_IMAGE": lab.image, "CI_RUNTIME": "docker"}
    async with RawEngine.connected() as engine:
        with serving("rerun", **settings) as service:
            project = make_project(lab, NAME, service.url)
            await asyncio.to_thread(start_container, project)
            try:
                return await compare(lab, project, Pool(service.url), engine)
            finally:
                await asyncio.to_thread(remove_all, project)


async def compare(lab: Lab, project: Project, pool: Pool, engine: RawEngine) -> list[Figure]:
    """Return the figures; `project` has been prepared for the other contenders."""
    await project.ours()
    await environment_waits(project.url)
    project.ways.clear()

    async def settle() -> None:
        await pool.filled()
        await engine.quiet()

    contenders: dict[str, Callable[[], Awaitable[Taken]]] = {
        "ours": project.ours,
        "build": project.by_build,
        "exec": project.by_exec,
    }
    taken = await in_turns(lab.samples(15, 3), contenders, settle=settle)
    edits = lab.samples(50, 5) - sum(project.ways.values())
    for _ in range(max(0, edits)):
        await pool.filled()
        await project.ours()
    verdicts = {name: tuple(each.verdict for each in series) for name, series in taken.items()}
    firsts = {name: tuple(each.first for each in series) for name, series in taken.items()}
    whole = sum(project.ways.values())
    share = 100 * project.ways["warm, prepared"] / whole
    lab.note(f"How {whole} edits started: {', '.join(f'{n} {way}' for way, n in project.ways.most_common())}.")
    lab.note(
        "Every turn changes one line of the tests. The requirements are numpy, pandas, requests and pytest. Ours is "
        "the whole command `ci run`, started again each time, against a server on this machine; `docker build` has the "
        "layer with the requirements in its cache; `docker exec` runs in a container that has everything and the "
        "project mounted, which is no clean container."
    )
    ours, less = "`ci run`", Better.LESS
    build = Series("`docker build && docker run`", verdicts["build"])
    own = Series("`docker exec`", verdicts["exec"])
    more = tuple(ours - own for ours, own in zip(verdicts["ours"], verdicts["exec"], strict=True))
    return [
        Figure("rerun.verdict", "edit to verdict", "s", less, Series(ours, verdicts["ours"]), build),
        Figure("rerun.exec", "edit to verdict, against exec", "s", less, Series(ours, verdicts["ours"]), own),
        Figure("rerun.more", "edit to verdict, beyond exec", "s", less, Series(ours, more), exact=True),
        Figure(
            "rerun.first",
            "edit to the first output of the tests",
            "s",
            less,
            Series(ours, firsts["ours"]),
            Series("`docker exec`", firsts["exec"]),
        ),
        Figure("rerun.share", "warm and prepared starts", "%", Better.MORE, Series(ours, (share,)), exact=True),
    ]


def make_project(lab: Lab, name: str, url: str) -> Project:
    """Write the project, and get its requirements for `docker build`. Raises LeftOut."""
    directory = lab.directory / name
    (directory / "tests").mkdir(parents=True)
    (directory / "requirements.txt").write_text(REQUIREMENTS)
    (directory / "tests" / "test_it.py").write_text(TEST)
    (directory / ".ciignore").write_text("wheels\nDockerfile\n")
    project = Project(directory, directory / "wheels", lab.image, url)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest"]
    output([*download, str(project.wheels), "-r", str(directory / "requirements.txt")])
    (directory / "Dockerfile").write_text(_DOCKERFILE.format(base=lab.image))
    return project


def start_container(project: Project) -> None:
    """Build the image, and start the container for `docker exec`."""
    output(["docker", "build", "--quiet", "--tag", project.image, str(project.directory)])
    mounted = ["--volume", f"{project.directory}:/project", "--name", project.container]
    output(["docker", "run", "--detach", "--init", *mounted, project.image, "sleep", "3600"])


def remove_all(project: Project) -> None:
    """Remove what was made in the engine."""
    subprocess.run(["docker", "rm", "--force", project.container], capture_output=True, check=False)
    subprocess.run(["docker", "rmi", "--force", project.image], capture_output=True, check=False)


def command_line(project: Project, *options: str) -> list[str]:
    """Return the command that runs the project's tests."""
    return [sys.executable, "-m", "ci_cli", "run", str(project.directory), "--server", project.url, *options]


def compiled() -> dict[str, str]:
    """Return the variables of a command. Its modules are compiled once, as they are where the product is installed."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/ci-bench-compiled"}


async def timed(command: list[str], *, directory: Path | None = None) -> Taken:
    """Return the times of a command that runs the tests, in `directory`. Raises RuntimeError unless they pass."""
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=compiled(), cwd=directory
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    text, first = b"", 0.0
    while chunk := await process.stdout.read(1 << 16):
        text += chunk
        if not first and _BEGINS in text:
            first = time.perf_counter() - begun
    status = await process.wait()
    taken = time.perf_counter() - begun
    if status or b"2 passed" not in text:
        raise RuntimeError(f"{' '.join(command)} ended with {status}: {text!r} {(await errors)!r}")
    await errors
    return Taken(first, taken)


async def run(command: list[str]) -> None:
    """Run a command to its end. Raises RuntimeError unless it succeeds."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    text, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text!r}")


def output(command: list[str]) -> str:
    """Return what a command writes. Raises LeftOut unless it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LeftOut(f"{' '.join(command[:4])} fails: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()
