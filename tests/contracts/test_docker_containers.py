"""What a job's container is like, as the job and the engine see it."""

import json
import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable, StartFault
from ci_common.system.processes import ProcessIdentity, this_process
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION
from ci_controller.runtime.docker.creation import JobContainers
from ci_controller.runtime.protocol import EngineStatus, Runtime
from tests.contracts.docker_bench import (
    DockerBench,
    container_name,
    containers_labelled,
    docker_runtime,
    inspect_container,
    installation_of,
)
from tests.contracts.runtime_suite.bench import FOREVER, READY, MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine.api import EngineAPI, require_engine
from tests.engine.images import user_image


class TestLayers(DockerBench):
    async def test_they_are_placed_apart_on_the_disk(self, engine: EngineAPI, runtime: Runtime) -> None:
        info = json.loads(engine.request("GET", "/info"))
        if info["Driver"] != "overlay2":
            return  # Where layers are is not known then.
        layers = Path(info["DockerRootDir"], "overlay2")
        with tempfile.TemporaryDirectory(dir=layers.parent) as other:
            subprocess.run(["chattr", "+T", other], check=False)  # Not every file system has it.
            assert attributes(layers) == attributes(Path(other))


def attributes(path: Path) -> str:
    listed = subprocess.run(["lsattr", "-d", path], check=True, capture_output=True, text=True)
    return listed.stdout.partition(" ")[0]


class TestConsole(DockerBench):
    """`> /dev/stderr` opens it again, which must neither truncate the log nor lose what is written there."""

    async def test_what_is_written_to_the_devices_is_in_the_log(self, trial: MakeTrial) -> None:
        one = trial("echo first; echo second >/dev/stderr; echo third | tee /dev/stderr >/dev/stdout", "echo last >&2")
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert sorted(one.run.log.read_bytes().split()) == [b"first", b"last", b"second", b"third", b"third"]

    async def test_all_of_it_whatever_the_amount(self, trial: MakeTrial) -> None:
        one = trial("yes 0123456789 | head -c 20000000 >/dev/stdout")
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert one.run.log.stat().st_size == 20_000_000

    async def test_an_image_without_cat(self, trial: MakeTrial) -> None:
        one = trial("echo said >/dev/stderr")
        one.run.job.write_bytes(one.run.job.read_bytes().replace(b"command -v cat", b"command -v no-such-program"))
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert one.run.log.read_bytes() == b"said\n"

    async def test_a_process_left_over_that_holds_it_does_not_hold_up_the_job(self, trial: MakeTrial) -> None:
        one = trial("sleep 600 >/dev/stderr & echo done")
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert one.run.log.read_bytes() == b"done\n"


class TestContainer(DockerBench):
    async def test_its_engine_keeps_no_log(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one = trial("echo said")
        await one.execute()
        assert inspect_container(engine, one.key)["HostConfig"]["LogConfig"]["Type"] == "none"
        assert one.run.log.read_bytes() == b"said\n"

    async def test_downloads_can_be_read_and_not_changed(self, trial: MakeTrial, data: DataDirectory) -> None:
        downloads = data.downloads / "project"
        downloads.mkdir(parents=True)
        (downloads / "wheel").write_text("good")
        one = trial("cat /ci-downloaded/wheel; echo poison >/ci-downloaded/wheel || rm -r /ci-downloaded/wheel")
        one.spec = replace(one.spec, downloads=downloads)
        assert (await one.execute()).exit_code != 0
        assert one.run.log.read_text().startswith("good")
        assert (downloads / "wheel").read_text() == "good"

    async def test_without_network(self, trial: MakeTrial) -> None:
        one = trial("ls /sys/class/net")
        await one.execute()
        assert one.run.log.read_text().split() == ["lo"]

    async def test_with_network(self, trial: MakeTrial) -> None:
        one = trial("ls /sys/class/net", network=True)
        await one.execute()
        assert "eth0" in one.run.log.read_text().split()

    async def test_its_name_and_labels_say_whose_it_is(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one = trial("true")
        await one.runtime.create(one.spec)
        inspected = inspect_container(engine, one.key)
        assert inspected["Name"] == f"/ci-{one.key.job_id}-1"
        assert (
            inspected["Config"]["Labels"].items() >= {"ci-server.job": one.key.job_id, "ci-server.attempt": "1"}.items()
        )

    async def test_the_prefix_of_its_name(self, data: DataDirectory, engine: EngineAPI) -> None:
        runtime = docker_runtime(data, container_prefix="mine.")
        await runtime.open()
        one = Trial(runtime, make_spec(runtime, data, self.image, "true"))
        await runtime.create(one.spec)
        engine.request("GET", f"/containers/mine.{container_name(one.key)}/json")
        assert [s.key for s in await runtime.list_workloads()] == [one.key]
        await runtime.remove(one.key)
        await runtime.close()

    async def test_removed_by_hand(self, trial: MakeTrial, runtime: Runtime, engine: EngineAPI) -> None:
        one = trial(f"{READY}; {FOREVER}")
        await one.running()
        engine.request("DELETE", f"/containers/{container_name(one.key)}", {"force": "1"})
        assert await runtime.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)
        assert await runtime.list_workloads() == []
        assert one.run.read_exit() is None

    async def test_another_installations_container_is_left_alone(
        self, trial: MakeTrial, tmp_path: Path, engine: EngineAPI
    ) -> None:
        """Though it has the very name: the same job in a copy of the database, say."""
        one = trial(f"{READY}; {FOREVER}")
        await one.running()
        elsewhere = DataDirectory(tmp_path / "elsewhere")
        elsewhere.create()
        other = await self.open_runtime(elsewhere)
        assert await other.look(one.key) == EngineStatus(WorkloadPhase.ABSENT)
        await other.start(one.key)
        await other.stop(one.key, 0)
        await other.remove(one.key)
        with pytest.raises(StartFault, match="another installation"):
            await other.create(one.spec)
        await other.close()
        assert await one.phase() is WorkloadPhase.RUNNING

    async def test_one_that_is_removed_while_it_is_made_again(
        self, trial: MakeTrial, engine: EngineAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No other container has the name then, so it can be made at the next try."""
        one = trial("true")
        await one.runtime.create(one.spec)
        create_all = JobContainers._create_all

        async def removed_meanwhile(*arguments: Any) -> None:
            try:
                await create_all(*arguments)
            finally:
                engine.request("DELETE", f"/containers/{container_name(one.key)}", {"force": "1"})

        monkeypatch.setattr(JobContainers, "_create_all", removed_meanwhile)
        with pytest.raises(RuntimeUnavailable, match="removed while"):
            await one.runtime.create(one.spec)
        monkeypatch.undo()
        await one.runtime.create(one.spec)
        assert await one.phase() is WorkloadPhase.CREATED

    async def test_a_data_directory_the_engine_does_not_see(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("true")
        os.rename(one.run.path, f"{one.run.path}.moved")
        with pytest.raises(StartFault, match="source path does not exist"):
            await runtime.create(one.spec)


class TestUser(DockerBench):
    @property
    def image(self) -> str:  # type: ignore[override]
        return user_image(require_engine())

    async def test_an_image_whose_user_is_not_root(self, trial: MakeTrial) -> None:
        one = trial("id -u; echo made >made; cp script copy && ./copy; echo changed >>given")
        (one.workspace / "given").write_text("given\n")
        (one.workspace / "script").write_text("#!/bin/sh\necho script\n")
        os.chmod(one.workspace / "script", 0o700)
        assert (await one.execute()).exit_code == 0
        assert one.run.log.read_text() == "1000\nscript\n"
        assert (one.workspace / "made").stat().st_uid == 1000
        assert (one.workspace / "given").read_text() == "given\nchanged\n"

    async def test_it_is_stopped_and_says_so(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(f"trap 'exit 7' TERM; {READY}; {FOREVER}")
        await one.running()
        await runtime.stop(one.key, 30)
        assert await one.phase() is WorkloadPhase.EXITED
        record = one.run.read_exit()
        assert record is not None
        assert (record.code, record.terminated) == (7, True)


class TestCertificates(DockerBench):
    async def test_the_bundle_is_there_and_named(
        self, data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle = tmp_path / "bundle.crt"
        bundle.write_text("the certificates\n")
        bundle.chmod(0o600)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        runtime = docker_runtime(data, ca_bundle="auto")
        await runtime.open()
        variables = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        text = "; ".join(f'cat "${name}"' for name in variables)
        one = Trial(runtime, make_spec(runtime, data, self.image, text, "ls /etc/ssl", 'echo >"$SSL_CERT_FILE"'))
        assert (await one.execute()).exit_code != 0
        assert one.run.log.read_text().startswith("the certificates\n" * 5)
        assert "No such file" in one.run.log.read_text(), "where the image has no bundle, none is put in its place"
        await runtime.remove(one.key)
        await runtime.close()

    async def test_it_covers_the_images_own(self, data: DataDirectory, tmp_path: Path, python_image: str) -> None:
        bundle = tmp_path / "bundle.crt"
        bundle.write_text("the certificates\n")
        runtime = docker_runtime(data, ca_bundle=str(bundle))
        await runtime.open()
        one = Trial(runtime, make_spec(runtime, data, python_image, "cat /etc/ssl/certs/ca-certificates.crt"))
        await one.execute()
        assert one.run.log.read_text() == "the certificates\n"
        await runtime.remove(one.key)
        await runtime.close()

    async def test_none(self, data: DataDirectory) -> None:
        runtime = docker_runtime(data, ca_bundle="none")
        await runtime.open()
        one = Trial(runtime, make_spec(runtime, data, self.image, "ls /usr/local/share/ca-certificates"))
        assert (await one.execute()).exit_code != 0
        assert "SSL_CERT_FILE" not in runtime.describe(one.spec.plan, one.run).environment
        await runtime.remove(one.key)
        await runtime.close()


class TestHelpers(DockerBench):
    async def test_a_container_that_is_started_again_does_not_run_its_job_again(
        self, trial: MakeTrial, runtime: Runtime, engine: EngineAPI
    ) -> None:
        """A controller that was stopped between its look and its start may do so, long after another one leads."""
        one = trial("echo ran >>ran; exit 3")
        await one.execute()
        engine.request("POST", f"/containers/{container_name(one.key)}/start")
        assert (await one.end()).exit_code == 1
        assert (one.workspace / "ran").read_text() == "ran\n"
        ended = one.run.read_exit()
        assert ended is not None
        assert (ended.code, ended.terminated) == (3, False)

    async def test_a_helper_is_no_workload_and_is_swept(
        self, data: DataDirectory, runtime: Runtime, engine: EngineAPI
    ) -> None:
        """A controller that dies while it probes an image leaves such a container behind."""
        dead = ProcessIdentity(this_process().pid, "0", this_process().scope)
        labels = {INSTALLATION: installation_of(data), HELPER: dead.to_json()}
        body = {"Image": self.image, "Labels": labels, "Entrypoint": ["/bin/sh"]}
        engine.request("POST", "/containers/create", body=body)
        wanted = [f"{name}={value}" for name, value in labels.items()]
        assert len(containers_labelled(engine, *wanted)) == 1
        assert await runtime.list_workloads() == []
        standby = await self.open_runtime(data)
        assert len(containers_labelled(engine, *wanted)) == 1, "it may be in use, by the controller that leads"
        await standby.begin_term()
        assert containers_labelled(engine, *wanted) == []
        await standby.close()

    async def test_a_leader_leaves_the_helpers_of_a_controller_that_lives(
        self, data: DataDirectory, runtime: Runtime, engine: EngineAPI
    ) -> None:
        labels = {INSTALLATION: installation_of(data), HELPER: this_process().to_json()}
        body = {"Image": self.image, "Labels": labels, "Entrypoint": ["/bin/sh"]}
        helper = json.loads(engine.request("POST", "/containers/create", body=body))["Id"]
        standby = await self.open_runtime(data)
        await standby.begin_term()
        assert len(containers_labelled(engine, *(f"{name}={value}" for name, value in labels.items()))) == 1
        await standby.close()
        engine.request("DELETE", f"/containers/{helper}")
