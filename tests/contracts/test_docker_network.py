"""What containers reach: the internet, and neither this machine, nor private networks, nor other jobs."""

import functools
import json
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import pytest_asyncio

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import StartFault
from ci_controller.runtime.docker import DockerRuntime
from ci_controller.runtime.docker.confining import network, packet_filter
from ci_controller.runtime.docker.confining.packet_filter import CannotFilter, bridges_of
from ci_controller.runtime.protocol import LocalRuntime
from tests.contracts.docker_bench import DockerBench, docker_runtime, inspect_container, installation_of
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine.api import EngineAPI
from tests.helpers.waiting import eventually

METADATA = "169.254.169.254"
OUTSIDE = "203.0.113.77"
"""An address of the internet, which is played by a network of this machine."""


def rules() -> str:
    return subprocess.run(["iptables", "-S"], check=True, capture_output=True, text=True).stdout


def jobs_networks(engine: EngineAPI, data: DataDirectory) -> list[dict[str, Any]]:
    label = json.dumps({"label": [f"ci-server.installation={installation_of(data)}", "ci-server.network"]})
    found: list[dict[str, Any]] = json.loads(engine.request("GET", "/networks", {"filters": label}))
    return found


@contextmanager
def listening(address: str) -> Iterator[int]:
    """Answer connections to an address of this machine; yield the port."""
    with socket.create_server((address, 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"reached\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def own_address(address: str) -> Iterator[None]:
    """Give this machine one more address."""
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=True)


@contextmanager
def neighbour(name: str, near: str, far: str) -> Iterator[int]:
    """Have another machine with the address `far` behind this one, which routes to it; yield its port."""
    commands = [
        f"ip netns add {name}",
        f"ip link add {name} type veth peer name eth0 netns {name}",
        f"ip addr add {near} peer {far} dev {name}",
        f"ip link set {name} up",
        f"ip -n {name} addr add {far} peer {near} dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} route add default via {near}",
    ]
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        program = (
            f"import socket; s = socket.create_server(({far!r}, 0)); print(s.getsockname()[1], flush=True)\n"
            "while True:\n c, _ = s.accept(); c.sendall(b'reached\\n'); c.close()"
        )
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, "python3", "-c", program], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()
            server.communicate()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def connect(address: str, port: int) -> str:
    """Return shell text that connects, and tells what came of it in about two seconds at most."""
    return f"timeout 2 nc {address} {port} </dev/null 2>/dev/null || echo refused"


@pytest.fixture
def root() -> None:
    """Skip the test without the right to change the packet filter."""
    if os.geteuid() != 0:
        pytest.skip("only root changes the packet filter")


class NetworkBench(DockerBench):
    @pytest.fixture
    def online(self, trial: MakeTrial) -> MakeTrial:
        """Of jobs that want a network."""
        return functools.partial(trial, network=True)

    async def said(self, one: Trial) -> str:
        await one.execute()
        return one.run.log.read_text()

    @pytest_asyncio.fixture
    async def allowing(self, data: DataDirectory) -> AsyncIterator[Any]:
        """Returns a runtime with a value of CI_NETWORK_ALLOW or other settings."""
        opened: list[DockerRuntime] = []

        async def make(**settings: Any) -> DockerRuntime:
            opened.append(docker_runtime(data, **settings))
            await opened[-1].open()
            return opened[-1]

        yield make
        for runtime in opened:
            for each in await runtime.list_workloads():
                await runtime.remove(each.key)
            await runtime.close()


@pytest.mark.usefixtures("root")
class TestReach(NetworkBench):
    async def test_this_machine(self, online: MakeTrial, engine: EngineAPI, data: DataDirectory) -> None:
        one = online("sh targets")
        await one.runtime.create(one.spec)
        (made,) = jobs_networks(engine, data)
        gateway = made["IPAM"]["Config"][0]["Gateway"]
        with own_address("198.51.100.7"), listening("0.0.0.0") as port:
            targets = [connect(address, port) for address in (gateway, "198.51.100.7")]
            (one.workspace / "targets").write_text("\n".join(targets))
            assert await self.said(one) == "refused\n" * 2

    async def test_metadata_and_private_networks(self, online: MakeTrial) -> None:
        with neighbour("ci-n1", "10.77.0.1", "10.77.0.2") as port, neighbour("ci-n2", "10.77.1.1", METADATA) as other:
            one = online(connect("10.77.0.2", port), connect(METADATA, other))
            assert await self.said(one) == "refused\n" * 2

    async def test_the_internet(self, online: MakeTrial) -> None:
        with neighbour("ci-n3", "10.77.2.1", OUTSIDE) as port:
            assert await self.said(online(connect(OUTSIDE, port))) == "reached\n"

    async def test_other_jobs(self, online: MakeTrial, engine: EngineAPI) -> None:
        other, one = online("echo reached | nc -l -p 999"), online("sh target")
        await other.to_gate()
        await other.through_gate()
        (there,) = inspect_container(engine, other.key)["NetworkSettings"]["Networks"].values()
        (one.workspace / "target").write_text(connect(there["IPAddress"], 999))
        assert await self.said(one) == "refused\n"

    async def test_services_but_not_the_machine_behind_them(self, online: MakeTrial, engine: EngineAPI) -> None:
        service = {"image": self.image, "command": "exec nc -ll -p 9 -e /bin/echo reached"}
        for has_network in (True, False):
            with listening("0.0.0.0") as port:
                one = online("nc db 9 </dev/null; sh target", services={"db": service}, network=has_network)
                await one.runtime.create(one.spec)
                await cast(LocalRuntime, one.runtime).await_services(one.key, one.spec.plan)
                (there,) = inspect_container(engine, one.key)["NetworkSettings"]["Networks"].values()
                gateway = there["Gateway"] or there["IPAddress"].rpartition(".")[0] + ".1"
                (one.workspace / "target").write_text(connect(gateway, port))
                assert await self.said(one) == "reached\nrefused\n"

    async def test_what_a_setting_allows(self, allowing: Any, data: DataDirectory) -> None:
        with neighbour("ci-n4", "10.77.3.1", "10.77.3.2") as port:
            for allowed, expected in ((f"10.77.3.0/24:{port}", "reached\n"), ("10.77.3.2:1", "refused\n")):
                runtime = await allowing(network_allow=allowed)
                one = Trial(runtime, make_spec(runtime, data, self.image, connect("10.77.3.2", port), network=True))
                assert await self.said(one) == expected

    async def test_an_open_network(self, allowing: Any, data: DataDirectory, engine: EngineAPI) -> None:
        runtime = await allowing(network="open")
        with neighbour("ci-n5", "10.77.4.1", "10.77.4.2") as port:
            one = Trial(runtime, make_spec(runtime, data, self.image, connect("10.77.4.2", port), network=True))
            assert await self.said(one) == "reached\n"
        assert jobs_networks(engine, data) == []
        assert bridges_of(installation_of(data)) not in rules()


@pytest.mark.usefixtures("root")
class TestWhatIsLeft(NetworkBench):
    async def test_nothing(self, data: DataDirectory, engine: EngineAPI) -> None:
        runtime = docker_runtime(data)
        await runtime.open()
        one = Trial(runtime, make_spec(runtime, data, self.image, "true", network=True))
        await one.execute()
        assert bridges_of(installation_of(data)) in rules()
        await runtime.remove(one.key)
        await runtime.close()
        assert jobs_networks(engine, data) == []
        assert bridges_of(installation_of(data)) not in rules()

    async def test_a_job_that_goes_on_keeps_its_network(self, data: DataDirectory, online: MakeTrial) -> None:
        one = online("while ! test -e go; do sleep 0.05; done")
        await one.to_gate()
        await one.through_gate()
        await one.runtime.close()
        assert bridges_of(installation_of(data)) in rules()
        await cast(DockerRuntime, one.runtime).open()
        (one.workspace / "go").touch()
        await one.end()

    async def test_what_a_dead_controller_left(
        self, data: DataDirectory, engine: EngineAPI, online: MakeTrial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = DataDirectory(data.path.with_name("other"))
        other.create()
        runtime = docker_runtime(other)
        await runtime.open()
        one = Trial(runtime, make_spec(runtime, other, self.image, "true", network=True))
        await one.execute()
        await runtime.remove(one.key)
        living = online("true")
        await living.runtime.create(living.spec)
        await living.runtime.begin_term()
        assert len(jobs_networks(engine, other)) == 1, "its controller is alive"
        monkeypatch.setattr(network, "is_in_use", lambda *_: False)
        await living.runtime.begin_term()
        assert jobs_networks(engine, other) == []
        assert bridges_of(installation_of(other)) not in rules()
        # The other one was alive after all.
        again = Trial(runtime, make_spec(runtime, other, self.image, "true", network=True))
        assert (await again.execute()).exit_code == 0
        assert bridges_of(installation_of(other)) in rules()
        await runtime.remove(again.key)
        await runtime.close()
        assert (await living.execute()).exit_code == 0, "its own network was removed before it was started"

    async def test_rules_that_others_remove_come_back(
        self, data: DataDirectory, online: MakeTrial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network, "_LOOK_SECONDS", 0.0)
        one = online("true")
        await one.runtime.create(one.spec)
        mark = bridges_of(installation_of(data))[2:]
        subprocess.run(["iptables", "--flush", f"CI-{mark}-IN"], check=True)

        async def is_back() -> bool:
            await one.runtime.list_workloads()
            return f"-A CI-{mark}-IN -j REJECT" in rules()

        await eventually(is_back, "the rules are in place again")


class TestWithoutTheRight(NetworkBench):
    @pytest.fixture(autouse=True)
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> None:
            raise CannotFilter("the controller may not change the packet filter")

        monkeypatch.setattr(packet_filter.PacketFilter, "check", staticmethod(refuse))

    async def test_jobs_run_with_a_warning(self, online: MakeTrial, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(2):
            assert (await online("true").execute()).exit_code == 0
        assert caplog.text.count("jobs reach this machine and private networks") == 1

    async def test_jobs_do_not_run_where_that_is_demanded(self, allowing: Any, data: DataDirectory) -> None:
        runtime = await allowing(network="confined")
        with pytest.raises(StartFault, match="CI_NETWORK=confined"):
            await runtime.create(make_spec(runtime, data, self.image, "true", network=True))
        one = Trial(runtime, make_spec(runtime, data, self.image, "true", network=False))
        assert (await one.execute()).exit_code == 0
