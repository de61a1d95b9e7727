"""The parts of the Docker runtime that need no engine."""

import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ci_common.errors import SettingsError
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Limits
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker.certificates import Certificates, copy_bundle, find_bundle
from ci_controller.runtime.docker.cleaning import Cleaner
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.containers import HELPER, Mount, job_config, key_of, status_of
from ci_controller.runtime.docker.engine import Engine, Refusal, Traits
from ci_controller.runtime.docker.pulls import Transfer, registry_header
from ci_controller.runtime.protocol import EngineStatus, WorkloadKey

PLAIN = Traits(processors=2, remapped=False, rootless=False, selinux=False)
CONFINED = Confinement(Settings.from_env({}))


def layer_event(identity: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": identity, "status": status, "progressDetail": {"current": current, "total": total}}


class TestTransfer:
    def test_layers_are_summed(self) -> None:
        transfer = Transfer()
        lines = []
        for event in (
            {"status": "Pulling from some/image", "id": "v1"},
            {"status": "Pulling fs layer", "id": "a", "progressDetail": {}},
            layer_event("a", "Downloading", 2_300_000, 20_000_000),
            layer_event("b", "Downloading", 10_000_000, 7_000_000),
            layer_event("a", "Verifying Checksum"),
            layer_event("b", "Download complete"),
            layer_event("a", "Extracting", 5, 20_000_000),
            layer_event("a", "Pull complete"),
        ):
            transfer.take(event)
            lines.append(transfer.line())
        assert lines == [
            None,
            None,
            "2.3 of 20.0 MB",
            "12.3 of 30.0 MB",
            "30.0 of 30.0 MB",
            "30.0 of 30.0 MB",
            "30.0 of 30.0 MB, extracting",
            "30.0 of 30.0 MB",
        ]

    def test_what_is_here_already_is_nothing(self) -> None:
        transfer = Transfer()
        transfer.take({"id": "a", "status": "Already exists", "progressDetail": {}})
        assert transfer.line() is None


class TestCredentials:
    @staticmethod
    def sent(image: str, auths: dict[str, Any]) -> dict[str, Any] | None:
        header = registry_header(image, {"auths": auths}).get("X-Registry-Auth")
        return None if header is None else json.loads(base64.urlsafe_b64decode(header))

    def test_they_go_to_their_registry_only(self) -> None:
        auths = {"ghcr.io": {"auth": base64.b64encode(b"me:se:cret").decode()}}
        assert self.sent("ghcr.io/some/image:v1", auths) == {
            "username": "me",
            "password": "se:cret",
            "serveraddress": "ghcr.io",
        }
        for image in ("python:3.12", "some/image", "localhost/image", "example.org:5000/image", "ghcr.io.evil.org/x"):
            assert self.sent(image, auths) is None

    @pytest.mark.parametrize("image", ["python:3.12-slim", "some/image", "docker.io/library/python"])
    def test_the_hub(self, image: str) -> None:
        assert self.sent(image, {"https://index.docker.io/v1/": {"identitytoken": "token"}}) == {
            "identitytoken": "token",
            "serveraddress": "https://index.docker.io/v1/",
        }

    def test_an_entry_whose_secret_a_helper_keeps(self) -> None:
        assert self.sent("ghcr.io/some/image", {"ghcr.io": {}}) is None


class TestBundle:
    def test_auto_takes_the_first_variable_that_names_a_file(self, tmp_path: Path) -> None:
        bundle = tmp_path / "bundle.crt"
        bundle.touch()
        assert find_bundle("auto", {"SSL_CERT_FILE": "/nowhere", "PIP_CERT": str(bundle)}) == bundle
        assert find_bundle("auto", {"SSL_CERT_FILE": ""}) is None
        assert find_bundle("none", {"PIP_CERT": str(bundle)}) is None

    def test_a_given_file_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="CI_CA_BUNDLE"):
            find_bundle(str(tmp_path / "missing"), {})

    def test_the_copy_is_readable_for_all(self, tmp_path: Path) -> None:
        bundle = tmp_path / "bundle.crt"
        bundle.write_text("one")
        bundle.chmod(0o400)
        target = tmp_path / "copy"
        for text in ("one", "two"):
            bundle.write_text(text)
            copy_bundle(bundle, target)
            assert target.read_text() == text
        assert target.stat().st_mode & 0o777 == 0o644

    def test_the_copy_is_made_by_several_controllers_at_once(self, tmp_path: Path) -> None:
        bundle, target = tmp_path / "bundle.pem", tmp_path / "data.pem"
        bundle.write_text("x" * 200_000)
        with ThreadPoolExecutor(4) as pool:
            for copied in [pool.submit(copy_bundle, bundle, target) for _ in range(200)]:
                copied.result()
        assert target.read_text() == bundle.read_text()
        assert sorted(os.listdir(tmp_path)) == ["bundle.pem", "data.pem"]

    def test_what_a_killed_controller_was_writing_goes(self, tmp_path: Path) -> None:
        with subprocess.Popen(["true"]) as gone:
            gone.wait()
        bundle, target = tmp_path / "bundle.pem", tmp_path / "data.pem"
        bundle.write_text("x")
        alive = f"data.pem.draft-{os.getpid()}-a"
        for name in (f"data.pem.draft-{gone.pid}-b", alive):
            (tmp_path / name).touch()
        Certificates(bundle, target).copy()
        assert sorted(os.listdir(tmp_path)) == ["bundle.pem", "data.pem", alive]


class TestContainers:
    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("created", EngineStatus(WorkloadPhase.CREATED)),
            ("running", EngineStatus(WorkloadPhase.RUNNING)),
            ("paused", EngineStatus(WorkloadPhase.RUNNING)),
            ("exited", EngineStatus(WorkloadPhase.EXITED, 9)),
            ("dead", EngineStatus(WorkloadPhase.EXITED, 9)),
            ("removing", EngineStatus(WorkloadPhase.EXITED, 9)),
        ],
    )
    def test_phases(self, status: str, expected: EngineStatus) -> None:
        assert status_of({"State": {"Status": status, "ExitCode": 9, "OOMKilled": False}}) == expected

    @pytest.mark.parametrize("labels", [{}, {"ci-server.job": "x"}, {"ci-server.job": "x", "ci-server.attempt": "one"}])
    def test_labels_that_name_no_workload(self, labels: dict[str, str]) -> None:
        assert key_of(labels) is None

    def test_labels_that_do(self) -> None:
        assert key_of({"ci-server.job": "x", "ci-server.attempt": "2"}) == WorkloadKey("x", 2)

    def test_mounts(self) -> None:
        plan = ExecutionPlan(image="some:image", steps=(), timeout=1)
        mounts = [Mount(Path("/a"), "/ci"), Mount(Path("/b"), "/c", read_only=True)]
        plain = job_config(plan, {}, mounts, PLAIN, CONFINED)["HostConfig"]
        assert "Binds" not in plain
        assert plain["Mounts"][1] == {"Type": "bind", "Source": "/b", "Target": "/c", "ReadOnly": True}
        labelled = Traits(processors=2, remapped=False, rootless=False, selinux=True)
        with_selinux = job_config(plan, {}, mounts, labelled, CONFINED)["HostConfig"]
        assert "Mounts" not in with_selinux
        assert with_selinux["Binds"] == ["/a:/ci:z", "/b:/c:z,ro"]

    def test_no_limits(self) -> None:
        plan = ExecutionPlan(image="some:image", steps=(), timeout=1, limits=Limits())
        host = job_config(plan, {}, [], PLAIN, CONFINED.without_limits())["HostConfig"]
        assert not host.keys() & {"NanoCpus", "Memory", "MemorySwap", "PidsLimit", "NetworkMode"}

    def test_swap_that_does_not_count_is_not_to_be_had(self) -> None:
        plan = ExecutionPlan(image="some:image", steps=(), timeout=1, limits=Limits(memory=10**7))
        blind = Traits(processors=2, remapped=False, rootless=False, selinux=False, counts_swap=False)
        assert job_config(plan, {}, [], blind, CONFINED)["HostConfig"]["MemorySwappiness"] == 0
        assert "MemorySwappiness" not in job_config(plan, {}, [], PLAIN, CONFINED)["HostConfig"]

    def test_the_own_layer_is_limited_as_the_workspace(self) -> None:
        plan = ExecutionPlan(image="some:image", steps=(), timeout=1, limits=Limits(workspace=10**9))
        assert job_config(plan, {}, [], PLAIN, CONFINED, limit_layer=True)["HostConfig"]["StorageOpt"] == {
            "size": "1000000000"
        }
        assert "StorageOpt" not in job_config(plan, {}, [], PLAIN, CONFINED)["HostConfig"]


class TestConfinement:
    """What containers are held to, on a machine with two processors and 1000 bytes."""

    MACHINE = Traits(processors=2, memory=1000, remapped=False, rootless=False, selinux=False)

    def test_limits_that_a_spec_leaves_out(self) -> None:
        options = CONFINED.options(Limits(), self.MACHINE, own_processes=3)
        assert (options["NanoCpus"], options["Memory"], options["PidsLimit"]) == (2 * 10**9, 750, 4096 + 3)

    def test_limits_of_a_spec_up_to_the_most(self) -> None:
        low = CONFINED.options(Limits(cpus=0.5, memory=10, pids=20), self.MACHINE)
        assert (low["NanoCpus"], low["Memory"], low["PidsLimit"]) == (5 * 10**8, 10, 20)
        high = CONFINED.options(Limits(cpus=100, memory=10**6, pids=10**6), self.MACHINE)
        assert (high["NanoCpus"], high["Memory"], high["PidsLimit"]) == (2 * 10**9, 900, 16_384)

    def test_amounts_in_settings(self) -> None:
        settings = Settings.from_env({"CI_DEFAULT_MEMORY": "400", "CI_MAX_CPUS": "50%", "CI_MAX_PIDS": "7"})
        options = Confinement(settings).options(Limits(), self.MACHINE)
        assert (options["NanoCpus"], options["Memory"], options["PidsLimit"]) == (10**9, 400, 7)

    def test_a_default_that_the_engine_does_not_know_is_not_given(self) -> None:
        weak = Traits(2, remapped=False, rootless=True, selinux=False, unenforced=frozenset({"memory", "cpus", "pids"}))
        assert not CONFINED.options(Limits(), weak).keys() & {"NanoCpus", "Memory", "MemorySwap", "PidsLimit"}

    def test_rights(self) -> None:
        options = CONFINED.options(Limits(), PLAIN)
        assert (options["CapDrop"], options["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
        assert "CHOWN" in options["CapAdd"]
        assert not {"NET_RAW", "MKNOD", "SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT"} & set(options["CapAdd"])
        loose = Settings.from_env({"CI_CAPABILITIES": "cap_net_raw, chown", "CI_NEW_PRIVILEGES": "allow"})
        options = Confinement(loose).options(Limits(), PLAIN)
        assert (options["CapAdd"], options["SecurityOpt"]) == (["CHOWN", "NET_RAW"], [])
        assert Confinement(Settings.from_env({"CI_CAPABILITIES": "none"})).options(Limits(), PLAIN)["CapAdd"] == []


class TestEngine:
    def test_what_the_kernel_below_does_not_know(self) -> None:
        info = {"MemoryLimit": False, "SwapLimit": False, "PidsLimit": True, "CpuCfsQuota": False}
        traits = Traits.from_info(info)
        assert traits.unenforced == {"memory", "cpus"}
        assert not traits.counts_swap
        assert Traits.from_info({}).unenforced == set()

    @pytest.mark.parametrize(
        ("driver", "below", "may"),
        [("overlay2", "xfs", True), ("overlay2", "extfs", False), ("btrfs", None, True), ("vfs", "xfs", False)],
    )
    def test_storage_that_can_limit_a_layer(self, driver: str, below: str | None, may: bool) -> None:
        status = [["Backing Filesystem", below], ["Supports d_type", "true"]] if below else None
        assert Traits.from_info({"Driver": driver, "DriverStatus": status}).may_limit_layers is may

    def test_where_layers_are_is_known_of_one_kind_of_storage(self) -> None:
        layers = Traits.from_info({"Driver": "overlay2", "DockerRootDir": "/var/lib/docker"}).layers
        assert layers == Path("/var/lib/docker/overlay2")
        for info in ({}, {"Driver": "overlay2"}, {"Driver": "btrfs", "DockerRootDir": "/var/lib/docker"}):
            assert Traits.from_info(info).layers is None

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["name=seccomp,profile=default"], PLAIN),
            (["name=seccomp", "name=rootless"], Traits(2, remapped=False, rootless=True, selinux=False)),
            (["name=userns"], Traits(2, remapped=True, rootless=False, selinux=False)),
            (["name=selinux"], Traits(2, remapped=False, rootless=False, selinux=True)),
            (None, PLAIN),
        ],
    )
    def test_traits(self, options: list[str] | None, expected: Traits) -> None:
        assert Traits.from_info({"NCPU": 2, "SecurityOptions": options}) == expected

    def test_podman_says_in_fields_of_its_own_that_it_is_rootless(self) -> None:
        info = {"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": True, "MemoryLimit": True}
        delegated = Traits.from_info({**info, "CgroupVersion": "2"})
        assert (delegated.rootless, delegated.unenforced) == (True, frozenset())
        assert Traits.from_info({**info, "CgroupVersion": "1"}).unenforced == {"memory", "pids", "cpus"}
        assert not Traits.from_info({**info, "Rootless": False}).rootless

    def test_no_packet_filter_confines_the_networks_of_podman(self) -> None:
        docker, podman = Traits.from_info({}), Traits.from_info({"BuildahVersion": "1.28.2"})
        assert docker.unfiltered is None
        assert "Podman" in (podman.unfiltered or "")

    @pytest.mark.parametrize("url", ["/var/run/docker.sock", "ssh://host", "unix://", "tcp://", "npipe:////./pipe"])
    def test_an_address_that_cannot_be_used(self, url: str) -> None:
        with pytest.raises(SettingsError, match="DOCKER_HOST"):
            Engine(url)


async def test_a_helper_that_cannot_be_removed_keeps_no_other() -> None:
    removed: list[str] = []

    class Helper(dict[str, Any]):
        def __init__(self, name: str) -> None:
            super().__init__(Labels={HELPER: "a process that is gone"}, Created=0)
            self.id = name

    class BusyEngine:
        @asynccontextmanager
        async def call(self) -> AsyncIterator[Any]:
            async def helpers(**_: Any) -> list[Helper]:
                return [Helper("stuck"), Helper("other")]

            yield SimpleNamespace(containers=SimpleNamespace(list=helpers))

        async def remove_container(self, name: str) -> None:
            if name == "stuck":
                raise Refusal("device or resource busy", 500)
            removed.append(name)

    await Cleaner(cast(Engine, BusyEngine()), "ours").remove_leftovers()
    assert removed == ["other"]
