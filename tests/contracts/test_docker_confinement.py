"""Attacks that jobs try in real containers, and what becomes of them."""

import json
from shlex import quote

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.protocol import Runtime
from tests.contracts.docker_bench import DockerBench, docker_runtime, inspect_container
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine import images
from tests.engine.api import EngineAPI, require_engine

RAW_SOCKET = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
NAMESPACE = "import ctypes; raise SystemExit(ctypes.CDLL(None).unshare(0x10000000) != 0)"
"""Makes a user namespace, in which it would have every capability."""
PTRACE = """
import ctypes, os
attach, seen = 16, set(map(int, filter(str.isdigit, os.listdir("/proc"))))
libc = ctypes.CDLL(None)
others = [pid for pid in range(1, 70000) if pid not in seen and libc.ptrace(attach, pid, 0, 0) == 0]
raise SystemExit(not others and len(seen) < 20)
"""
"""Attaches to the processes that it does not see, and succeeds if there is one."""


class TestRights(DockerBench):
    @pytest.mark.parametrize(
        "attack",
        [
            "mount -t tmpfs none /mnt",
            "mount -o remount,rw /proc/sys",
            "mknod /disk b 8 0",
            "chroot / true",
            "hostname other",
            "echo 1 >/proc/sys/kernel/panic",
            "echo b >/proc/sysrq-trigger",
            "echo 0 >/proc/sys/kernel/randomize_va_space",
            "for file in /sys/fs/cgroup/pids.max /sys/fs/cgroup/*/pids.max; do test -e $file && echo max >$file; done",
            "ping -c 1 -w 1 127.0.0.1",
            "ls /var/run/docker.sock",
            "ls /run/docker.sock",
            "ls /dev/mem",
            "ls /dev/sda /dev/vda /dev/kmsg",
            "cat /proc/kcore",
            "nice -n -5 true",
        ],
    )
    async def test_what_root_in_a_container_cannot_do(self, trial: MakeTrial, attack: str) -> None:
        one = trial(f"({attack}) && echo done it; :")
        assert (await one.execute()).exit_code == 0, one.run.log.read_text()
        assert "done it" not in one.run.log.read_text()

    @pytest.mark.parametrize("attack", [RAW_SOCKET, NAMESPACE, PTRACE])
    async def test_what_programs_cannot_do(self, runtime: Runtime, data: DataDirectory, attack: str) -> None:
        image = images.python_image(require_engine())
        one = Trial(runtime, make_spec(runtime, data, image, f"python3 -c {quote(attack)} && echo done it; :"))
        assert (await one.execute()).exit_code == 0, one.run.log.read_text()
        assert "done it" not in one.run.log.read_text()

    async def test_no_process_gains_rights(self, trial: MakeTrial) -> None:
        one = trial("grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd' /proc/self/status")
        await one.execute()
        status = dict(line.split(":\t") for line in one.run.log.read_text().splitlines())
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status["CapEff"] == status["CapBnd"]
        net_raw, sys_admin, mknod, ptrace = 13, 21, 27, 19
        assert not any(int(status["CapEff"], 16) >> bit & 1 for bit in (net_raw, sys_admin, mknod, ptrace))

    async def test_what_the_installation_of_packages_needs(self, trial: MakeTrial) -> None:
        one = trial(
            "echo 'user:x:1000:1000:::' >>/etc/passwd; touch /file; chown 1000:1000 /file; chmod 4755 /file",
            "chmod 0 /file; cat /file; su user -s /bin/sh -c 'id -u'",
            "sleep 60 & kill $!",
        )
        assert (await one.execute()).exit_code == 0, one.run.log.read_text()
        assert "1000" in one.run.log.read_text()

    async def test_a_setting_gives_a_capability_back(self, data: DataDirectory) -> None:
        runtime = docker_runtime(data, capabilities="MKNOD,CHOWN")
        await runtime.open()
        try:
            one = Trial(runtime, make_spec(runtime, data, self.image, "mknod /null c 1 3"))
            assert (await one.execute()).exit_code == 0
            await runtime.remove(one.key)
        finally:
            await runtime.close()


class TestResources(DockerBench):
    async def test_a_fork_bomb_ends_at_its_limit(self, data: DataDirectory) -> None:
        runtime = docker_runtime(data, default_pids=50)
        await runtime.open()
        try:
            bomb = "bomb() { bomb | bomb & }; bomb; sleep 0.5; echo over"
            one = Trial(runtime, make_spec(runtime, data, self.image, bomb))
            await one.execute()
            assert b"fork" in one.run.log.read_bytes()
            assert (await one.phase()) is WorkloadPhase.EXITED
            await runtime.remove(one.key)
        finally:
            await runtime.close()

    async def test_memory_of_a_job_that_names_no_limit(self, data: DataDirectory) -> None:
        runtime = docker_runtime(data, default_memory="16m")
        await runtime.open()
        try:
            one = Trial(runtime, make_spec(runtime, data, self.image, "tail /dev/zero"))
            workload = await one.execute()
            assert (workload.exit_code, workload.out_of_memory) == (137, True)
            await runtime.remove(one.key)
        finally:
            await runtime.close()

    async def test_defaults_by_the_machine(self, trial: MakeTrial, engine: EngineAPI) -> None:
        one = trial("true")
        await one.runtime.create(one.spec)
        host, info = inspect_container(engine, one.key)["HostConfig"], json.loads(engine.request("GET", "/info"))
        assert host["NanoCpus"] == info["NCPU"] * 10**9
        assert host["Memory"] == host["MemorySwap"] == int(info["MemTotal"] * 0.75)
        assert host["PidsLimit"] == 4096 + 3
        assert (host["Privileged"], host["Devices"] or [], host["PidMode"], host["IpcMode"]) == (
            False,
            [],
            "",
            "private",
        )


class TestFiles(DockerBench):
    async def test_a_job_sees_no_file_of_another(self, trial: MakeTrial) -> None:
        other, one = trial("echo secret >ours"), trial("find / -xdev -name ours 2>/dev/null; ls /ci/.. /ci/../..")
        await other.execute()
        await one.execute()
        assert "ours" not in one.run.log.read_text()

    async def test_no_mount_but_its_own(self, trial: MakeTrial, engine: EngineAPI, data: DataDirectory) -> None:
        one = trial("true")
        await one.runtime.create(one.spec)
        mounts = inspect_container(engine, one.key)["Mounts"]
        writable = {mount["Source"] for mount in mounts if mount["RW"]}
        assert writable == {str(one.run.path), str(one.run.console)}
        assert all(mount["Source"].startswith(str(data.path)) for mount in mounts)

    async def test_links_lead_to_nothing_of_the_host(self, trial: MakeTrial) -> None:
        one = trial(
            "ln -s ../../../../../../../etc/shadow up; ln -s /proc/1/root/etc root; cat up; ls root/shadow",
            "ln -s / /ci/workspace/everything; ls everything/var/lib/docker; :",
        )
        await one.execute()
        text = one.run.log.read_text()
        assert "root:" not in text
        assert "can't open 'up'" in text
