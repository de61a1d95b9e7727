"""What people use instead, each set up as its own guides say."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.peers.environments import environment_of, redis_server, redis_version, version_of
from bench.peers.process import INSIDE, Peer, started
from ci_selftest.faults.held_ports import held_port


@dataclass(frozen=True, slots=True)
class Kind:
    """One peer: its name, what to say of it, and how it is started."""

    title: str
    about: Callable[[], str]
    start: Callable[[Path], AbstractAsyncContextManager[Peer]]
    """Takes a directory that is not there yet. Raises LeftOut."""


def _redis(place: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    socket = f"{place}/redis"
    settings = ("--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
    return {"BENCH_REDIS": socket, "PYTHONPATH": str(INSIDE)}, (redis_server(), *settings)


async def _launch_redis(peer: Peer, command: tuple[str, ...]) -> None:
    await peer.launch(*command)

    async def listens() -> bool:
        return (peer.place / "redis").exists()

    await peer.until(listens, "Redis listened")


@asynccontextmanager
async def celery(place: Path) -> AsyncIterator[Peer]:
    """Start Celery's prefork worker on a Redis of its own."""
    python = environment_of("celery")
    environment, redis = _redis(place)
    async with started(place, environment) as peer:
        await _launch_redis(peer, redis)
        switches = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-Ofair", "--loglevel=WARNING")
        worker = ("-A", "celery_tasks", "worker", "--pool=prefork", f"--concurrency={os.cpu_count() or 2}", *switches)
        await peer.launch(str(python), "-m", "celery", *worker)
        await peer.drive(str(python), str(INSIDE / "celery_driver.py"))
        yield peer


@asynccontextmanager
async def rq(place: Path) -> AsyncIterator[Peer]:
    """Start RQ's worker on a Redis of its own."""
    python = environment_of("rq")
    environment, redis = _redis(place)
    async with started(place, environment) as peer:
        await _launch_redis(peer, redis)
        await peer.launch(str(python), str(INSIDE / "rq_worker.py"))
        await peer.drive(str(python), str(INSIDE / "rq_driver.py"))
        yield peer


@asynccontextmanager
async def buildbot(place: Path) -> AsyncIterator[Peer]:
    """Start Buildbot's master with a worker in its own process."""
    python = environment_of("buildbot")
    ends = place / "ends"
    with held_port() as port:
        async with started(place, {"BENCH_PORT": str(port), "BENCH_ENDS": str(ends)}) as peer:
            os.mkfifo(ends)
            command = str(python.with_name("buildbot"))
            master = place / "master"
            await peer.prepare(command, "create-master", str(master))
            shutil.copy(INSIDE / "buildbot_master.py", master / "master.cfg")
            await peer.launch(command, "start", "--nodaemon", str(master))
            # The driver opens the FIFO for reading, which waits for a writer; this one stays until it has.
            holder = os.open(ends, os.O_RDWR)
            try:
                await peer.drive(str(python), str(INSIDE / "buildbot_driver.py"))
                yield peer
            finally:
                os.close(holder)


@asynccontextmanager
async def prefect(place: Path) -> AsyncIterator[Peer]:
    """Start Prefect's server and a worker of a process pool."""
    with held_port() as port:
        async with _prefect_on(place, port) as peer:
            yield peer


@asynccontextmanager
async def _prefect_on(place: Path, port: int) -> AsyncIterator[Peer]:
    python = environment_of("prefect")
    environment = {
        "DO_NOT_TRACK": "1",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(place / "home"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "0.2",
        "PYTHONPATH": str(INSIDE),
    }
    async with started(place, environment) as peer:
        command = str(python.with_name("prefect"))
        await peer.launch(command, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
        await peer.until(lambda: _answers(f"{environment['PREFECT_API_URL']}/health"), "Prefect's server answered")
        await peer.prepare(command, "work-pool", "create", "bench", "--type", "process")
        await peer.launch(command, "worker", "start", "--pool", "bench")
        await peer.drive(str(python), str(INSIDE / "prefect_driver.py"))
        yield peer


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False


def _sdk(name: str) -> str:
    return f"docker SDK {version_of(name, 'docker')}, attached before the start, removal left to the engine"


def _about_celery() -> str:
    return (
        f"Celery {version_of('celery', 'celery')}, prefork with a process per processor, prefetch 1, `-Ofair`, "
        f"no gossip, mingle or heartbeat; broker and results in Redis {redis_version()} by a Unix socket, nothing "
        f"written to disk; {_sdk('celery')}."
    )


def _about_rq() -> str:
    return (
        f"RQ {version_of('rq', 'rq')}, its usual forking worker with everything imported before the fork, the result "
        f"by a blocking read; Redis as for Celery; {_sdk('rq')}."
    )


def _about_buildbot() -> str:
    return (
        f"Buildbot {version_of('buildbot', 'buildbot')}, sendchange over a connection made for it, no stable timer, no "
        "collapsing, a worker inside the master's process, `docker run --rm` as the one step, the end told "
        "by the master itself."
    )


def _about_prefect() -> str:
    return (
        f"Prefect {version_of('prefect', 'prefect')}, a process work pool whose worker asks every 0.2 s (by default "
        f"every 10 s), the run awaited by asking every 0.05 s, no logging to the API; {_sdk('prefect')}."
    )


KINDS = (
    Kind("Celery", _about_celery, celery),
    Kind("RQ", _about_rq, rq),
    Kind("Buildbot", _about_buildbot, buildbot),
    Kind("Prefect", _about_prefect, prefect),
)
