"""The first run, for which nothing is prepared: `ci run` against `pip install` in a fresh `docker run`."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.families.rerun import Project, Taken, command_line, make_project, timed
from bench.frame.engine import LABEL, RawEngine
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, Series
from bench.frame.turns import in_turns
from bench.server import PREPARED_SECONDS, serving
from ci_controller.runtime.docker.certificates import find_bundle

NAME = "first"
TITLE = "First run: nothing is prepared"
_PIP = "python3 -m pip install --quiet -r requirements.txt && python3 -m pytest -v -p no:cacheprovider"
_BUNDLE = "/ca-bundle.crt"


@dataclass
class First:
    """The contenders."""

    project: Project
    projects: int = 0
    """The projects of ours that were made so far."""
    made: list[str] = field(default_factory=list)
    """When the environments were made that there were before the last run."""

    async def with_downloads(self) -> Taken:
        """Run the setup again in the job, in a project that has downloaded its requirements."""
        return await self._run("--fresh", "--project", "known")

    async def without_downloads(self) -> Taken:
        """Run in a project that is new to the server."""
        self.projects += 1
        return await self._run("--project", f"new-{self.projects}")

    async def _run(self, *options: str) -> Taken:
        self.project.edit()
        self.made = await self._environments()
        return await timed(command_line(self.project, *options))

    async def by_pip(self) -> Taken:
        """Install in a fresh container, and run the tests in it."""
        self.project.edit()
        bundle = find_bundle("auto", os.environ)
        trusted = [] if bundle is None else ["--volume", f"{bundle}:{_BUNDLE}:ro", "--env", f"PIP_CERT={_BUNDLE}"]
        mounted = ["--volume", f"{self.project.directory}:/project:ro", "--workdir", "/project"]
        return await timed(
            ["docker", "run", "--rm", "--label", LABEL, *trusted, *mounted, self.project.base, "/bin/sh", "-ec", _PIP]
        )

    async def is_prepared(self) -> None:
        """Return once the environment of the last run has been made, so that nothing else runs. Raises TimeoutError."""
        async with asyncio.timeout(PREPARED_SECONDS):
            while self.made and await self._environments() == self.made:
                await asyncio.sleep(0.1)
        self.made = []

    async def _environments(self) -> list[str]:
        async with httpx.AsyncClient(trust_env=False) as client:
            found: list[dict[str, Any]] = (await client.get(f"{self.project.url}/environments")).json()
        return sorted(str(each["created"]) for each in found) or ["none"]


async def measure(lab: Lab) -> list[Figure]:
    """Measure all contenders in turns."""
    settings = {"CI_DEFAULT_IMAGE": lab.image, "CI_RUNTIME": "docker", "CI_POOL_SIZE": "0"}
    async with RawEngine.connected() as engine:
        with serving("first", **settings) as service:
            first = First(make_project(lab, NAME, service.url))

            async def settle() -> None:
                await first.is_prepared()
                await engine.quiet()
                await asyncio.to_thread(os.sync)  # An environment is 160 MB, and all three write as much.

            contenders: dict[str, Callable[[], Awaitable[Taken]]] = {
                "downloads": first.with_downloads,
                "nothing": first.without_downloads,
                "pip": first.by_pip,
            }
            taken = await in_turns(lab.samples(5, 2), contenders, settle=settle)
            await first.is_prepared()
    lab.note(
        "No environment is used: `ci run --fresh` in a project that has downloaded its requirements before (numpy, "
        "pandas, requests, pytest), and `ci run` in a new project, against `docker run` with `pip install` and the "
        "same tests. All three end with the verdict of the tests. The next sample begins once the environment has "
        "been made, and is on the disk."
    )
    verdicts = {name: tuple(each.verdict for each in series) for name, series in taken.items()}
    pip = Series("`pip install` in `docker run`", verdicts["pip"])
    known, new = (Series(f"`ci run`, {what}", verdicts[name]) for name, what in _WHAT.items())
    return [
        Figure("first.downloads", "first run to verdict, downloads there", "s", Better.LESS, known, pip),
        Figure("first.nothing", "first run to verdict, nothing there", "s", Better.LESS, new, pip),
    ]


_WHAT = {"downloads": "downloads there", "nothing": "nothing there"}
