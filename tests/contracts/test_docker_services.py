"""Services: what their containers are like, when they are ready, how they fail, and that nothing of them is left."""

import json
from typing import Any, cast

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import ImageNotFound, ServiceFault
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker.services import MOST_LOG_BYTES
from ci_controller.runtime.protocol import LocalRuntime, Runtime
from tests.contracts.docker_bench import DockerBench, container_name, installation_of
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial
from tests.engine.api import EngineAPI
from tests.engine.images import volume_image
from tests.helpers.waiting import eventually

SERVES = "exec nc -ll -p 9 -e /bin/hostname"
STAYS = "echo said; exec sleep 600"
OPENS_LATE = "sleep 0.5; exec nc -ll -p 9 -e /bin/true"


def host_of(one: Trial) -> LocalRuntime:
    return cast(LocalRuntime, one.runtime)


async def ready(one: Trial) -> None:
    await one.runtime.create(one.spec)
    await host_of(one).await_services(one.key, one.spec.plan)


def of_engine(engine: EngineAPI, kind: str, data: DataDirectory) -> Any:
    """Return the networks or containers of an installation."""
    label = json.dumps({"label": [f"ci-server.installation={installation_of(data)}"]})
    path = {"networks": "/networks", "containers": "/containers/json"}[kind]
    return json.loads(engine.request("GET", path, {"all": "1", "filters": label}))


def inspected(engine: EngineAPI, one: Trial, name: str) -> Any:
    return json.loads(engine.request("GET", f"/containers/{container_name(one.key)}-{name}/json"))


def volumes(engine: EngineAPI) -> set[str]:
    return {volume["Name"] for volume in json.loads(engine.request("GET", "/volumes"))["Volumes"] or ()}


class ServicesBench(DockerBench):
    def served(self, trial: MakeTrial, *steps: str, network: bool = True, **services: dict[str, Any] | str) -> Trial:
        """Return a trial with services, each given by its command, or by the fields besides its image."""
        fields = {name: {"command": each} if isinstance(each, str) else each for name, each in services.items()}
        described = {name: {"image": self.image, **each} for name, each in fields.items()}
        return trial(*(steps or ("true",)), network=network, services=described)


class TestNetwork(ServicesBench):
    async def test_a_job_reaches_its_services_by_their_names(self, trial: MakeTrial) -> None:
        one = self.served(trial, "nc db 9 </dev/null; nc cache-2 9 </dev/null", **{"db": SERVES, "cache-2": SERVES})
        await ready(one)
        await one.execute()
        assert one.run.log.read_text().split() == ["db", "cache-2"]

    async def test_two_jobs_do_not_meet(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one, two = (self.served(trial, "nc -w 2 $(cat address) 9 </dev/null", db=SERVES) for _ in range(2))
        await ready(one)
        await ready(two)
        (there,) = inspected(engine, two, "db")["NetworkSettings"]["Networks"].values()
        (one.workspace / "address").write_text(there["IPAddress"])
        (two.workspace / "address").write_text("db")
        assert (await one.execute()).exit_code != 0
        assert (await two.execute()).exit_code == 0
        assert (one.run.log.read_bytes().count(b"db"), two.run.log.read_bytes()) == (0, b"db\n")

    async def test_a_job_without_network_has_its_services(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one = self.served(trial, "nc db 9 </dev/null", network=False, db=SERVES)
        await ready(one)
        (network,) = of_engine(engine, "networks", one_data(one))
        assert network["Internal"] is True
        await one.execute()
        assert one.run.log.read_bytes() == b"db\n"


def one_data(one: Trial) -> DataDirectory:
    return DataDirectory(one.run.path.parents[2])


class TestContainers(ServicesBench):
    async def test_they_are_confined_as_jobs_are(self, trial: MakeTrial, engine: EngineAPI) -> None:
        limits = {"memory": "64m", "pids": 50, "cpus": 0.5}
        one = self.served(trial, db={"command": STAYS, "env": {"A": "b=c"}, "limits": limits})
        await ready(one)
        there = inspected(engine, one, "db")
        assert there["Mounts"] == []
        host = there["HostConfig"]
        assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (64 * 1024**2, 50, 500_000_000)
        assert (host["Privileged"], host["PortBindings"], host["RestartPolicy"]["Name"]) == (False, None, "no")
        assert "A=b=c" in there["Config"]["Env"]
        labels = there["Config"]["Labels"]
        assert (labels["ci-server.job"], labels["ci-server.attempt"], labels["ci-server.service"]) == (
            one.key.job_id,
            "1",
            "db",
        )

    async def test_a_list_is_given_to_the_entry_point(self, trial: MakeTrial) -> None:
        one = self.served(trial, db={"command": ["sh", "-c", "echo $0; exec sleep 600", "word"]})
        await ready(one)

        async def says() -> bool:
            return await host_of(one).service_logs(one.key, ["db"]) == {"db": b"word\n"}

        await eventually(says, "it got its words")

    async def test_made_twice(
        self, trial: MakeTrial, engine: EngineAPI, restarted: Runtime, data: DataDirectory
    ) -> None:
        one = self.served(trial, db=STAYS)
        await ready(one)
        await restarted.create(one.spec)
        await cast(LocalRuntime, restarted).await_services(one.key, one.spec.plan)
        assert len(of_engine(engine, "containers", data)) == 2
        assert len(of_engine(engine, "networks", data)) == 1

    async def test_an_image_that_has_gone(self, trial: MakeTrial) -> None:
        one = self.served(trial, db={"image": "ci-test-none:1", "command": STAYS})
        with pytest.raises(ImageNotFound, match="service db"):
            await one.runtime.create(one.spec)

    async def test_a_program_that_is_not_there(self, trial: MakeTrial) -> None:
        one = self.served(trial, db={"command": ["/no/such/program"]})
        with pytest.raises(ServiceFault, match="service db cannot be started"):
            await one.runtime.create(one.spec)


class TestRemoval(ServicesBench):
    @pytest.mark.parametrize("by", ["the runtime", "the next one"])
    async def test_nothing_is_left(
        self, trial: MakeTrial, engine: EngineAPI, restarted: Runtime, data: DataDirectory, by: str
    ) -> None:
        stores = {"image": volume_image(engine, "/stored"), "command": "echo kept >/stored/file; exec sleep 600"}
        one = self.served(trial, db=stores, cache=STAYS)
        await ready(one)
        (volume,) = inspected(engine, one, "db")["Mounts"]
        assert volume["Name"] in volumes(engine)
        for _ in range(2):
            await (one.runtime if by == "the runtime" else restarted).remove(one.key)
        assert (of_engine(engine, "containers", data), of_engine(engine, "networks", data)) == ([], [])
        assert volume["Name"] not in volumes(engine)
        assert not await host_of(one).has_services(one.key)

    @pytest.mark.parametrize("left", [["db"], []])
    async def test_what_is_left_is_listed(
        self, trial: MakeTrial, engine: EngineAPI, data: DataDirectory, left: list[str]
    ) -> None:
        one = self.served(trial, db=STAYS, cache=STAYS)
        await ready(one)
        for name in {"", "-db", "-cache"} - {f"-{name}" for name in left}:
            engine.request("DELETE", f"/containers/{container_name(one.key)}{name}", {"force": "1", "v": "1"})
        assert [each.key for each in await one.runtime.list_workloads()] == [one.key]
        assert await host_of(one).has_services(one.key)
        await one.runtime.remove(one.key)
        assert await one.runtime.list_workloads() == []
        assert of_engine(engine, "networks", data) == []

    async def test_one_that_is_being_made_is_removed(self, trial: MakeTrial) -> None:
        one = self.served(trial, db=STAYS)
        await host_of(one).await_services(one.key, one.spec.plan)
        assert await one.phase() is WorkloadPhase.ABSENT
        await one.runtime.remove(one.key)
        assert not await host_of(one).has_services(one.key)


class TestReadiness(ServicesBench):
    @pytest.mark.parametrize(
        "health", [{"port": 9}, "netstat -ltn | grep :9", ["sh", "-c", "netstat -ltn | grep :9"]], ids=str
    )
    async def test_by_what_the_job_says(self, trial: MakeTrial, health: Any) -> None:
        one = self.served(trial, "nc db 9 </dev/null && echo reached", db={"command": OPENS_LATE, "health": health})
        await ready(one)
        await one.execute()
        assert one.run.log.read_bytes() == b"reached\n"

    async def test_by_what_the_image_says(self, trial: MakeTrial, engine: EngineAPI) -> None:
        image = image_with_health(engine, self.image)
        one = self.served(trial, db={"image": image, "command": "sleep 0.5; touch /tmp/ready; exec sleep 600"})
        await ready(one)
        await one.runtime.remove(one.key)
        late = self.served(trial, db={"image": image, "command": STAYS, "ready_timeout": 0.5})
        with pytest.raises(ServiceFault, match=r"not ready within 0.5 s \(/bin/sh -c test -e /tmp/ready .*\nsaid"):
            await ready(late)

    async def test_never(self, trial: MakeTrial) -> None:
        one = self.served(trial, db={"command": STAYS, "health": {"port": 9}, "ready_timeout": 0.3})
        with pytest.raises(ServiceFault, match=r"db was not ready within 0.3 s .*port 9"):
            await ready(one)

    async def test_a_check_that_hangs(self, trial: MakeTrial) -> None:
        one = self.served(trial, db={"command": STAYS, "health": "sleep 600", "ready_timeout": 0.5})
        with pytest.raises(ServiceFault, match=r"db was not ready within 0.5 s"):
            await ready(one)

    async def test_one_that_ends_before(self, trial: MakeTrial) -> None:
        one = self.served(trial, db={"command": "echo why; exit 7", "health": {"port": 9}})
        with pytest.raises(ServiceFault) as fault:
            await ready(one)
        assert str(fault.value) == "the service db ended with exit code 7 before it was ready; its log ends with:\nwhy"


class TestFailing(ServicesBench):
    async def test_each_that_runs_is_well(self, trial: MakeTrial) -> None:
        one = self.served(trial, db=STAYS, cache=STAYS)
        await ready(one)
        assert await host_of(one).failed_service(one.key) is None

    async def test_one_that_has_ended(self, trial: MakeTrial) -> None:
        one = self.served(trial, db="echo last words; exit 0", cache=STAYS)
        await one.runtime.create(one.spec)

        async def failed() -> str | None:
            return await host_of(one).failed_service(one.key)

        assert await eventually(failed, "it has ended") == (
            "the service db ended with exit code 0; its log ends with:\nlast words"
        )

    async def test_one_that_was_removed(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one = self.served(trial, db=STAYS)
        await ready(one)
        engine.request("DELETE", f"/containers/{container_name(one.key)}-db", {"force": "1"})
        assert await host_of(one).failed_service(one.key) == "the service db was removed from outside"

    async def test_its_end_is_an_event_of_the_workload(self, trial: MakeTrial) -> None:
        one = self.served(trial, db="sleep 0.5; exit 1")
        await one.runtime.create(one.spec)
        events = one.runtime.events()
        try:
            assert await anext(events) == one.key
        finally:
            await events.aclose()  # type: ignore[attr-defined]


class TestLogs(ServicesBench):
    async def test_both_outputs_and_no_more_than_the_end(self, trial: MakeTrial) -> None:
        writes = "yes 1234567 | head -n 300000; head -c 2000000 /dev/zero | tr '\\0' x; echo; yes ab | head -n 4000"
        one = self.served(
            trial, db=f"{writes}; echo end; exec sleep 600", cache="echo out; echo err >&2; exec sleep 600"
        )
        await ready(one)

        async def is_complete() -> bool:
            return (await host_of(one).service_logs(one.key, ["db"]))["db"].endswith(b"end\n")

        await eventually(is_complete, "all is written")
        logs = await host_of(one).service_logs(one.key, ["db", "cache"])
        assert len(logs["db"]) == MOST_LOG_BYTES
        assert logs["db"].endswith(3999 * b"ab\n" + b"end\n")  # A long line may lose its end.
        assert sorted(logs["cache"].split()) == [b"err", b"out"]

    async def test_one_that_is_gone_has_none(self, trial: MakeTrial) -> None:
        one = self.served(trial, db=STAYS)
        assert await host_of(one).service_logs(one.key, ["db"]) == {}


def image_with_health(engine: EngineAPI, base: str) -> str:
    """Return the name of an image that is ready once there is a file, by a check that the engine would run too late."""
    name = f"ci-test-health:{base.rpartition(':')[2]}"
    if not engine.has_image(name):
        layer = engine.request("GET", f"/images/{base}/get")
        assert layer
        container = json.loads(engine.request("POST", "/containers/create", body={"Image": base, "Cmd": ["true"]}))[
            "Id"
        ]
        try:
            exported = engine.request("GET", f"/containers/{container}/export")
        finally:
            engine.request("DELETE", f"/containers/{container}")
        engine.import_image(name, exported, ["HEALTHCHECK --interval=1h CMD test -e /tmp/ready"])
    return name
