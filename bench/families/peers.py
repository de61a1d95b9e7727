"""From submission to verdict, against what people use instead: an `echo`, and a pytest run of one second."""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from bench.frame.engine import RawEngine, docker_run
from bench.frame.lab import Lab
from bench.frame.limits import GATE
from bench.frame.model import Better, Figure, LeftOut, Limit, Series
from bench.frame.turns import in_turns
from bench.peers.catalogue import KINDS
from bench.peers.image import pytest_image
from bench.peers.process import Peer, Task
from bench.server import Pool, serving
from ci_client.aio import CiClient
from ci_common.stream import Event
from tests.helpers.service import tree, zipped

NAME = "peers"
TITLE = "Peers: submission to verdict"
PYTEST = ["python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
TEST = "import time\n\n\ndef test_of_one_second() -> None:\n    time.sleep(1)\n"
OURS, DOCKER = "ci-server", "`docker run`"
_CLOCKED = 'date +%s%N; "$@" >/dev/null; date +%s%N'

Contender = Callable[[Task], Awaitable[float]]
"""Runs a task, and returns after how many seconds its verdict was there."""


async def measure(lab: Lab) -> list[Figure]:
    """Measure everybody in turns, first with the one task and then with the other."""
    image = await pytest_image(lab.image, lab.directory)
    project = tree(lab.directory / "project", {"test_one_second.py": TEST})
    tasks = {
        "echo": Task(image, ["echo", "hello"], told="hello"),
        "pytest": Task(image, PYTEST, project, told="1 passed"),
    }
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        service = stack.enter_context(serving())
        pool = Pool(service.url)
        engine = await stack.enter_async_context(RawEngine.connected())
        ours = Ours(lab, await stack.enter_async_context(CiClient(service.url)))
        contenders: dict[str, Contender] = {OURS: ours.run, DOCKER: by_docker}
        contenders |= {name: peer.run for name, peer in (await start_peers(lab, stack)).items()}

        async def settle() -> None:
            await pool.filled()
            await engine.quiet()

        for name, task in tasks.items():
            bounds = await least_time(lab, name, task)
            await ours.run(task)  # From which the pool learns.
            ours.ways.clear()
            turns = lab.samples(12, 3)
            taken = await in_turns(turns, acts(task, contenders), settle=settle)
            figures += compared(name, taken, bounds)
            told = ", ".join(f"{count} {way}" for way, count in ours.ways.most_common())
            lab.note(f"How our jobs of {name} got their containers: {told}.")
    if pool.trouble:
        lab.leave_out("some of our warm starts", f"the pool was {pool.trouble}")
    lab.note(
        f"All of them run `echo hello` and `{' '.join(PYTEST)}` in the same image, without an init process, on "
        "the bridge network. For pytest ours gets the project as an upload over HTTP; the others have its directory "
        "mounted. A verdict is the exit status, and but for Buildbot and Prefect the whole output. Submission begins "
        "in a program that runs already."
    )
    return figures


def acts(task: Task, contenders: Mapping[str, Contender]) -> dict[str, Callable[[], Awaitable[float]]]:
    """Return what each contender does in its turn."""
    return {name: lambda contender=contender: contender(task) for name, contender in contenders.items()}


async def start_peers(lab: Lab, stack: AsyncExitStack) -> dict[str, Peer]:
    """Start all peers that can be run here, and say loudly which cannot, and why."""
    peers: dict[str, Peer] = {}
    for kind in KINDS:
        lab.say(f"starting {kind.title}")
        try:
            peers[kind.title] = await stack.enter_async_context(kind.start(lab.directory / kind.title.lower()))
        except (LeftOut, RuntimeError, OSError, AssertionError, TimeoutError) as exc:
            lab.leave_out(kind.title, f"{type(exc).__name__}: {exc}")
        else:
            lab.note(kind.about())
    return peers


class Ours:
    """The product, by its client library."""

    def __init__(self, lab: Lab, client: CiClient) -> None:
        self._lab = lab
        self._client = client
        self.ways: Counter[str] = Counter()
        """How the jobs so far got their containers."""

    async def run(self, task: Task) -> float:
        """Submit a task and follow it to its verdict."""
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
        if not end.get("success") or task.told not in output:
            raise RuntimeError(f"a job of the benchmark ended badly: {end}: {output}")
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
    """Run a task by `docker run`."""
    run = await docker_run(task.image, task.command, "--init", *mounted(task))
    if task.told not in run.output.decode():
        raise RuntimeError(f"docker run has written {run.output!r}")
    return run.whole / 1000


def mounted(task: Task) -> list[str]:
    """Return the options that give a container the task's project."""
    return [] if task.project is None else ["--volume", f"{task.project}:/project", "--workdir", "/project"]


async def least_time(lab: Lab, name: str, task: Task) -> tuple[str, ...]:
    """Return the limit of a task: what its command takes by itself inside of a container that runs already."""
    if name == "echo":
        return ("gate_seconds",) if await gate_in_seconds(lab) else ()
    samples = []
    for _ in range(lab.samples(5, 2)):
        run = await docker_run(task.image, ["/bin/sh", "-c", _CLOCKED, "sh", *task.command], *mounted(task))
        begun, ended = run.output.split()
        samples.append((int(ended) - int(begun)) / 1e9)
    # It is a duration of one process, so a quicker one is possible by chance, but not by much.
    limit = Limit("the pytest command by itself in a container", tuple(samples), "s", Better.LESS, slack=1.25)
    return (lab.limit(limit, "command"),)


async def gate_in_seconds(lab: Lab) -> bool:
    """Take the limit of a gate, in seconds; tell whether there is one."""
    if not await lab.limits(GATE):
        return False
    gate = lab.results.limits[GATE]
    lab.limit(Limit(gate.name, tuple(sample / 1000 for sample in gate.samples), "s", Better.LESS), "gate_seconds")
    return True


def compared(name: str, taken: Mapping[str, list[float]], bounds: tuple[str, ...]) -> list[Figure]:
    """Return a figure for each of the others, with ours beside it."""
    ours = Series(OURS, tuple(taken[OURS]))
    return [
        Figure(
            f"peers.{name}.{contender.strip('`').lower().replace(' ', '_')}",
            f"{name}, against {contender.strip('`')}",
            "s",
            Better.LESS,
            ours,
            Series(contender, tuple(samples)),
            bounds,
            group=f"{name}, submission to verdict",
        )
        for contender, samples in taken.items()
        if contender != OURS
    ]
