"""After an edit of one line, without an engine: `ci run` against tox and nox with their environments in place."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.families.rerun import Taken, output, timed
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, Series
from bench.frame.turns import in_turns
from bench.server import PREPARED_SECONDS, environment_made, serving

NAME = "tools"
TITLE = "Rerun without an engine: beside tox and nox"
_TEST = """import requests


def test_session() -> None:
    assert requests.Session().headers


def test_version() -> None:
    assert requests.__version__
"""
_TOX = """[tox]
env_list = py
[testenv]
skip_install = true
deps = -r requirements.txt
commands = python -m pytest -v
"""
_NOX = """import nox

nox.options.sessions = ["tests"]


@nox.session
def tests(session):
    session.install("-r", "requirements.txt")
    session.run("python", "-m", "pytest", "-v")
"""


@dataclass
class Project:
    """The project, and the programs that run its tests."""

    directory: Path
    tools: Path
    """The directory with the programs of tox and nox."""
    url: str
    edits: int = 0

    def edit(self) -> None:
        """Change one line."""
        self.edits += 1
        (self.directory / "tests" / "test_it.py").write_text(f"{_TEST}\n\n# edit {self.edits}\n")

    def runs(self, *command: str | Path) -> Callable[[], Awaitable[Taken]]:
        """Return what edits the project, and runs its tests by this command."""

        async def run() -> Taken:
            self.edit()
            return await timed([*map(str, command)], directory=self.directory)

        return run

    def contenders(self) -> dict[str, Callable[[], Awaitable[Taken]]]:
        ours = (sys.executable, "-m", "ci_cli", "run", self.directory, "--server", self.url)
        return {
            "`ci run`": self.runs(*ours),
            "`tox`": self.runs(self.tools / "tox", "run", "-q"),
            "`nox -R`": self.runs(self.tools / "nox", "-R"),
            "`nox -r`": self.runs(self.tools / "nox", "-r"),
        }


async def measure(lab: Lab) -> list[Figure]:
    """Measure all contenders in turns, each with its environment in place."""
    with serving("tools", CI_RUNTIME="process") as service:
        project = await asyncio.to_thread(make_project, lab.directory / NAME, service.url)
        contenders = project.contenders()
        ours = next(iter(contenders))
        for run in contenders.values():
            await run()
        await asyncio.wait_for(environment_made(service.url), PREPARED_SECONDS)
        taken = await in_turns(lab.samples(15, 3), contenders)
    lab.note(
        "Jobs run as processes of this machine (`CI_RUNTIME=process`). Every turn changes one line of the tests; the "
        "requirements are requests and pytest, and there is no package to install. tox has `skip_install`; `nox -R` "
        "installs nothing, and `nox -r` asks pip whether all is there. Theirs run the tests in the project's own "
        "directory; ours in a copy of what was sent, with an environment of its own."
    )
    own = Series(ours, tuple(each.verdict for each in taken.pop(ours)))
    return [
        Figure(
            f"tools.{''.join(filter(str.isalpha, name.replace('-R', 'without')))}",
            "edit to verdict, without an engine",
            "s",
            Better.LESS,
            own,
            Series(name, tuple(each.verdict for each in series)),
        )
        for name, series in taken.items()
    ]


def make_project(directory: Path, url: str) -> Project:
    """Write the project, and install tox and nox beside it. Raises LeftOut."""
    (directory / "tests").mkdir(parents=True)
    (directory / "requirements.txt").write_text("requests\npytest\n")
    (directory / "tests" / "test_it.py").write_text(_TEST)
    (directory / "tox.ini").write_text(_TOX)
    (directory / "noxfile.py").write_text(_NOX)
    (directory / ".ciignore").write_text("tox.ini\nnoxfile.py\n.tox\n.nox\n__pycache__\n.pytest_cache\n")
    tools = directory.with_name("tools-of-others")
    output([sys.executable, "-m", "venv", str(tools)])
    output([str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "tox", "nox"])
    return Project(directory, tools / "bin", url)
