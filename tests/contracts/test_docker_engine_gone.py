"""What cannot be seen is not taken for gone (law 3)."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.settings import Settings
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker import DockerRuntime
from ci_controller.runtime.protocol import Runtime, WorkloadKey
from tests.contracts.docker_bench import DockerBench, docker_runtime, installation_of, signals_sent
from tests.contracts.runtime_suite.bench import FOREVER, READY, MakeTrial
from tests.contracts.runtime_suite.trial import make_spec
from tests.engine.api import EngineAPI
from tests.engine.registry import Relay, serve_relay
from tests.helpers.waiting import PATIENCE, eventually

KEY = WorkloadKey(new_job_id(), 1)
CALLS: dict[str, Callable[[Runtime], Awaitable[object]]] = {
    "open": lambda runtime: runtime.open(),
    "has_image": lambda runtime: runtime.has_image("some:image"),
    "pull": lambda runtime: runtime.pull("some:image", lambda line: None),
    "start": lambda runtime: runtime.start(KEY),
    "look": lambda runtime: runtime.look(KEY),
    "stop": lambda runtime: runtime.stop(KEY, 0.1),
    "remove": lambda runtime: runtime.remove(KEY),
    "list_workloads": lambda runtime: runtime.list_workloads(),
    "events": lambda runtime: anext(runtime.events()),
}


async def exhausted(pending: asyncio.Task[WorkloadKey], events: AsyncIterator[WorkloadKey]) -> None:
    """Take events until there are no more."""
    await pending
    async for _ in events:
        pass


class TestEngineGone(DockerBench):
    @pytest_asyncio.fixture
    async def relay(self, engine: EngineAPI, tmp_path: Path) -> AsyncIterator[Relay]:
        parts = urlsplit(engine.url)
        if parts.scheme != "unix":
            pytest.fail("these tests stand between the runtime and a Unix socket; set DOCKER_HOST to one")
        async with serve_relay(tmp_path / "relay.sock", Path(parts.path)) as relay:
            yield relay

    @pytest_asyncio.fixture
    async def runtime(self, data: DataDirectory, relay: Relay) -> AsyncIterator[Runtime]:
        """One whose engine can be taken away."""
        runtime = docker_runtime(data, docker_url=relay.url)
        await runtime.open()
        yield runtime
        await runtime.close()
        sweeper = await self.open_runtime(data)
        for each in await sweeper.list_workloads():
            await sweeper.remove(each.key)
        await sweeper.close()

    @pytest.mark.parametrize("call", CALLS)
    async def test_nothing_is_known_of_an_engine_that_has_gone(self, runtime: Runtime, relay: Relay, call: str) -> None:
        await relay.cut()
        with pytest.raises(RuntimeUnavailable):
            await CALLS[call](runtime)

    async def test_nothing_is_created(self, runtime: Runtime, relay: Relay, data: DataDirectory) -> None:
        spec = make_spec(runtime, data, self.image, "true")
        await relay.cut()
        with pytest.raises(RuntimeUnavailable):
            await runtime.create(spec)

    async def test_an_engine_that_comes_back_is_used_again(
        self, runtime: Runtime, relay: Relay, trial: MakeTrial
    ) -> None:
        one = trial(f"{READY}; {FOREVER}")
        await one.running()
        await relay.cut()
        with pytest.raises(RuntimeUnavailable):
            await runtime.look(one.key)
        await relay.open()
        assert await one.phase() is WorkloadPhase.RUNNING

    async def test_an_engine_that_goes_ends_the_events(self, runtime: Runtime, relay: Relay, trial: MakeTrial) -> None:
        async with aclosing(runtime.events()) as events, asyncio.timeout(PATIENCE):
            heard = asyncio.create_task(anext(events))
            while not heard.done():  # Nothing tells when a listener is in place.
                await trial("true").execute()
            heard = asyncio.create_task(anext(events))
            await relay.cut()
            with pytest.raises(RuntimeUnavailable):
                await exhausted(heard, events)

    async def test_an_engine_that_goes_breaks_a_stop(
        self, runtime: Runtime, relay: Relay, trial: MakeTrial, engine: EngineAPI
    ) -> None:
        one = trial(f"trap ': >heard' TERM; {READY}; {FOREVER}")
        await one.running()
        stop = asyncio.create_task(runtime.stop(one.key, 6))
        await eventually(lambda: "15" in signals_sent(engine, one.key), "the engine has begun to stop it")
        await relay.cut()
        with pytest.raises(RuntimeUnavailable):
            await stop
        await relay.open()
        assert (await one.end()).exit_code == 137, "the engine has seen it through by itself"


class TestSilentEngine:
    @pytest.fixture
    def silent(self, tmp_path: Path) -> Path:
        return tmp_path / "silent.sock"

    @pytest_asyncio.fixture
    async def runtime(self, silent: Path, tmp_path: Path) -> AsyncIterator[DockerRuntime]:
        """One whose engine takes connections and never answers."""
        data = DataDirectory(tmp_path / "data")
        data.create()
        settings = Settings.from_env(docker_url=f"unix://{silent}")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(silent))
            listener.listen(100)
            runtime = DockerRuntime(settings, installation_of(data), data, patience=0.2)
            yield runtime
            await runtime.close()

    async def test_it_is_unavailable_in_time(self, runtime: DockerRuntime) -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(RuntimeUnavailable, match="did not answer within"):
                await runtime.open()

    async def test_without_open(self, runtime: DockerRuntime) -> None:
        with pytest.raises(RuntimeUnavailable, match="no connection"):
            await runtime.look(KEY)
        with pytest.raises(RuntimeUnavailable, match="no connection"):
            await anext(runtime.events())


class TestNoEngine:
    @pytest.mark.parametrize(
        ("kind", "why"),
        [
            ("missing", "unix://.*/engine.sock: No such file"),
            ("refusing", "unix://.*/engine.sock: Connection refused"),
            ("not an engine", "not a Docker engine"),
        ],
    )
    async def test_it_is_said_where_and_why(self, tmp_path: Path, kind: str, why: str) -> None:
        data = DataDirectory(tmp_path / "data")
        data.create()
        path = tmp_path / "engine.sock"

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello")
            writer.close()

        server = None
        if kind == "refusing":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        elif kind == "not an engine":
            server = await asyncio.start_unix_server(answer, path)
        runtime = DockerRuntime(Settings.from_env(docker_url=f"unix://{path}"), installation_of(data), data)
        with pytest.raises(RuntimeUnavailable, match=why):
            await runtime.open()
        await runtime.close()
        if server is not None:
            server.close()
