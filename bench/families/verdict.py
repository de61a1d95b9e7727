"""From submission to verdict, against `docker run`: an `echo`, and a pytest run of one second."""

import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.frame.engine import RawEngine, docker_run
from bench.frame.lab import Lab
from bench.frame.limits import GATE
from bench.frame.model import Better, Figure, Limit, Series
from bench.frame.turns import in_turns
from bench.pytest_image import pytest_image
from bench.server import Pool, serving
from ci_client.aio import CiClient
from ci_common.wire.stream import Event
from tests.helpers.service import tree, zipped

NAME = "verdict"
TITLE = "Verdict: submission to verdict"
PYTEST = ["python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
TEST = "import time\n\n\ndef test_of_one_second() -> None:\n    time.sleep(1)\n"
_CLOCKED = 'date +%s%N; "$@" >/dev/null; date +%s%N'


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides have to do."""

    image: str
    command: list[str]
    project: Path | None = None
    """A directory to run the command in."""
    expected: str = ""
    """Text that the output has if all went well."""


async def measure(lab: Lab) -> list[Figure]:
    """Measure both sides in turns, first with one task and then with the other."""
    image = await pytest_image(lab.image, lab.directory)
    project = tree(lab.directory / "project", {"test_one_second.py": TEST})
    tasks = {
        "echo": Task(image, ["echo", "hello"], expected="hello"),
        "pytest": Task(image, PYTEST, project, expected="1 passed"),
    }
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        service = stack.enter_context(serving())
        pool = Pool(service.url)
        engine = await stack.enter_async_context(RawEngine.connected())
        ours = Ours(lab, await stack.enter_async_context(CiClient(service.url)))

        async def settle() -> None:
            await pool.filled()
            await engine.quiet()

        for name, task in tasks.items():
            bounds = await least_time(lab, name, task)
            await ours.run(task)  # It teaches the pool the profile.
            ours.ways.clear()
            taken = await in_turns(
                lab.samples(12, 3),
                {"ours": lambda task=task: ours.run(task), "docker": lambda task=task: by_docker(task)},
                settle=settle,
            )
            series = Series("ci-server", tuple(taken["ours"])), Series("`docker run`", tuple(taken["docker"]))
            title = f"{name}, submission to verdict"
            figures.append(Figure(f"verdict.{name}", title, "s", Better.LESS, *series, bounds))
            ways = ", ".join(f"{count} {way}" for way, count in ours.ways.most_common())
            lab.note(f"How our jobs of {name} got their containers: {ways}.")
    if pool.trouble:
        lab.leave_out("some of our warm starts", f"the pool was {pool.trouble}")
    lab.note(
        f"Both run `echo hello` and `{' '.join(PYTEST)}` in the same image, on the bridge network. For pytest ours "
        "gets the project as an upload over HTTP; `docker run` has its directory mounted. A verdict is the exit status "
        "and the whole output. Submission begins in a program that is already running."
    )
    return figures


class Ours:
    """The product, used by its client library."""

    def __init__(self, lab: Lab, client: CiClient) -> None:
        self._lab = lab
        self._client = client
        self.ways: Counter[str] = Counter()
        """How the jobs so far got their containers."""

    async def run(self, task: Task) -> float:
        """Submit a task, follow it to its verdict, and return the seconds that this took."""
        begun = time.perf_counter()
        output, taken, job_id = "", 0.0, ""
        end: Event = {}
        async for event in self._events(task):
            if event["type"] == "job_id":
                job_id = event["job_id"]
            elif event["type"] == "log":
                output += event["data"]
            elif event["type"] == "complete":
                taken, end = time.perf_counter() - begun, event
        if not end.get("success") or task.expected not in output:
            raise RuntimeError(f"a job of the benchmark failed: {end}: {output}")
        self.ways[(await self._client.get_job(job_id))["start_way"]] += 1
        return taken

    async def _events(self, task: Task) -> AsyncGenerator[Event, None]:
        if task.project is not None:
            async for event in self._client.submit_and_stream(self._packed(task, task.project)):
                yield event
            return
        job_id = await self._client.create_job({"image": task.image, "command": task.command})
        yield {"type": "job_id", "job_id": job_id}
        async for event in self._client.stream(job_id):
            yield event

    def _packed(self, task: Task, project: Path) -> Path:
        packed = self._lab.directory / f"{project.name}.zip"
        if not packed.exists():
            files = {path.name: path.read_bytes() for path in project.glob("*.py")}
            ci_yaml = f"image: {task.image}\nsteps: [{{run: {' '.join(task.command)}}}]\n"
            packed.write_bytes(zipped({"ci.yaml": ci_yaml, **files}))
        return packed


async def by_docker(task: Task) -> float:
    """Run a task by `docker run`, and return the seconds that this took."""
    run = await docker_run(task.image, task.command, "--init", *mounted(task))
    if task.expected not in run.output.decode():
        raise RuntimeError(f"docker run has written {run.output!r}")
    return run.whole / 1000


def mounted(task: Task) -> list[str]:
    """Return the options that give a container the task's project."""
    return [] if task.project is None else ["--volume", f"{task.project}:/project", "--workdir", "/project"]


async def least_time(lab: Lab, name: str, task: Task) -> tuple[str, ...]:
    """Return the limit of a task: the time that its command takes in a container that is already running."""
    if name == "echo":
        return ("gate_seconds",) if await gate_in_seconds(lab) else ()
    samples = []
    for _ in range(lab.samples(5, 2)):
        run = await docker_run(task.image, ["/bin/sh", "-c", _CLOCKED, "sh", *task.command], *mounted(task))
        begun, ended = run.output.split()
        samples.append((int(ended) - int(begun)) / 1e9)
    # It is the duration of a process, so a shorter one is possible by chance, but not by much.
    limit = Limit("the pytest command by itself in a container", tuple(samples), "s", Better.LESS, slack=1.25)
    return (lab.limit(limit, "command"),)


async def gate_in_seconds(lab: Lab) -> bool:
    """Set the limit of a gate in seconds, and return whether there is one."""
    if not await lab.limits(GATE):
        return False
    gate = lab.results.limits[GATE]
    lab.limit(Limit(gate.name, tuple(sample / 1000 for sample in gate.samples), "s", Better.LESS), "gate_seconds")
    return True
