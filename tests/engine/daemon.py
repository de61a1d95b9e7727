"""A private Docker engine: own socket, data, bridge and containerd, all of it gone afterwards."""

import ctypes
import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.engine.api import EngineAPI, EngineError
from tests.engine.packages import install_packages

PACKAGES = ["docker.io", "iproute2", "iptables"]
"""docker.io brings containerd, runc and the init process with it."""
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1
_MANY_NETWORKS = {"default-address-pools": [{"base": "10.128.0.0/11", "size": 24}]}
"""Each installation has a network, and there are dozens in some tests; by default an engine has addresses for 31."""
_OWN_BRIDGE = ("--bip", "10.213.0.1/24")
"""The address of the bridge in an engine's own network namespace. It is none of those that it gives to networks."""
_NETWORKS = [ipaddress.ip_network(f"10.{213 + n}.0.0/24") for n in range(20)]


@contextmanager
def private_engine() -> Iterator[EngineAPI]:
    """Install what is missing, run an engine, and stop it. Needs root. Raises EngineError."""
    install_packages(PACKAGES)
    with _bridge() as bridge, _daemon(("--bridge", bridge)) as daemon:
        yield daemon.engine


@contextmanager
def private_daemon(**options: object) -> Iterator["Daemon"]:
    """Like `private_engine`, for a test that stops and starts the engine. `options` are those of daemon.json.

    It has a network namespace of its own, without a way out: an engine that starts removes the packet filter's chains
    for a moment, and another engine could make no network then.
    """
    install_packages(PACKAGES)
    with _network_namespace() as path, _daemon(_OWN_BRIDGE, ("nsenter", f"--net={path}"), **options) as daemon:
        yield daemon


@contextmanager
def _daemon(bridge: tuple[str, str], entering: tuple[str, ...] = (), **options: object) -> Iterator["Daemon"]:
    """Run an engine whose bridge is what the words of an option say, by a program with these words before it."""
    with ExitStack() as stack:
        stack.enter_context(_cgroups())
        # A short path, because a socket's has at most 107 bytes; data on a disk, because overlays do not nest.
        runtime = Path(stack.enter_context(_directory("/run")))
        runtime.chmod(0o755)  # The socket in it is for its group, too, as the usual one is.
        data = Path(stack.enter_context(_directory("/var/tmp")))
        if "userns-remap" in options:
            data.chmod(0o711)  # Root in a container is another user, who has to get to its layers.
        (data / "daemon.json").write_text(json.dumps({**_MANY_NETWORKS, **options}) + "\n")
        daemon = Daemon(runtime, data, bridge, entering)
        try:
            daemon.launch()
            daemon.wait()
            yield daemon
        finally:
            daemon.close()


class Daemon:
    """An engine on directories of its own, with a containerd that outlives it, as a service manager has it."""

    def __init__(self, runtime: Path, data: Path, bridge: tuple[str, str], entering: tuple[str, ...]) -> None:
        self.engine = EngineAPI(f"unix://{runtime / 'docker.sock'}")
        self._log = data / "dockerd.log"
        self._command = [
            *entering,
            "dockerd",
            *("--host", self.engine.url),
            *("--data-root", str(data / "data")),
            *("--exec-root", str(runtime / "exec")),
            *("--pidfile", str(runtime / "docker.pid")),
            *("--config-file", str(data / "daemon.json")),
            *bridge,
            *("--containerd", str(runtime / "containerd.sock")),
        ]
        settings = data / "containerd.toml"
        settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        containerd = ["containerd", *("--config", str(settings)), *("--address", str(runtime / "containerd.sock"))]
        containerd += [*("--root", str(data / "containerd")), *("--state", str(runtime / "containerd"))]
        self._containerd = self._run(containerd)
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the engine's process. It ends with the thread that calls this."""
        self._process = self._run(self._command)

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        with self._log.open("ab") as output:
            return subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait(self) -> None:
        """Return once the engine answers. Raises EngineError."""
        deadline = time.monotonic() + START_SECONDS
        while not self.engine.answers():
            if self._has_ended() or time.monotonic() > deadline:
                raise EngineError(f"dockerd did not come up:\n{self._log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def stop(self, number: signal.Signals) -> None:
        """End the engine by this signal; what becomes of its containers is its own affair."""
        assert self._process is not None, "the engine has been started"
        _end(self._process, number)

    def close(self) -> None:
        """End the engine, if it runs, with its containers and networks, which would outlive it in the kernel."""
        if not self._has_ended():
            self.remove_containers()
            self.stop(signal.SIGTERM)
        _end(self._containerd, signal.SIGTERM)

    def remove_containers(self) -> None:
        """Remove all containers of the engine, and then the networks that it has made for them."""
        for container in json.loads(self.engine.request("GET", "/containers/json", {"all": "1"})):
            self.engine.request("DELETE", f"/containers/{container['Id']}", {"force": "1"})
        self.engine.request("POST", "/networks/prune")

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _directory(parent: str) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="ci-engine-", dir=parent)
    try:
        yield folder
    finally:
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for point in sorted((point for point in mounted if point.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _bridge() -> Iterator[str]:
    """Make a network bridge with addresses that nothing here uses, so that no other engine is in the way."""
    for number, network in enumerate(_NETWORKS):
        name = f"ci-test{number}"
        if _routed(network) or _ip("link", "add", name, "type", "bridge"):
            continue
        try:
            for command in (
                ("addr", "add", f"{network[1]}/{network.prefixlen}", "dev", name),
                ("link", "set", name, "up"),
            ):
                if problem := _ip(*command):
                    raise EngineError(problem)
            yield name
        finally:
            _ip("link", "delete", name)
            _forget_rules(name)
        return
    raise EngineError("no network bridge could be made: this needs the right to administer the network")


@contextmanager
def _network_namespace() -> Iterator[Path]:
    """Make a network namespace, and yield the path by which programs enter it."""
    name = f"ci-test-{secrets.token_hex(4)}"
    if problem := _ip("netns", "add", name):
        raise EngineError(problem)
    try:
        yield Path("/run/netns") / name
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> str:
    """Run `ip`; return what it complains of, or an empty text."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip() or "ip failed" if done.returncode else ""


def _forget_rules(bridge: str) -> None:
    """Take back the packet filter's rules for the bridge, which the engine leaves behind."""
    for table in ("filter", "nat"):
        command = ["iptables", "--table", table]
        rules = subprocess.run([*command, "--list-rules"], capture_output=True, text=True, check=False).stdout
        for words in map(str.split, rules.splitlines()):
            if bridge in words and words[0] == "-A":
                subprocess.run([*command, "--delete", *words[1:]], capture_output=True, check=False)


def _routed(network: ipaddress.IPv4Network) -> bool:
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    destinations = [line.split()[0] for line in routes.splitlines() if line[:1].isdigit()]
    return any(ipaddress.ip_network(destination, strict=False).overlaps(network) for destination in destinations)


@contextmanager
def _cgroups() -> Iterator[None]:
    """Mount control groups where none are mounted, as in a machine without systemd."""
    if any(line.split()[2].startswith("cgroup") for line in Path("/proc/self/mounts").read_text().splitlines()):
        yield
        return
    root = "/sys/fs/cgroup"
    mounted = subprocess.run(["mount", "-t", "cgroup2", "cgroup2", root], capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise EngineError(f"no control groups are mounted, and they could not be: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", root], check=False, capture_output=True)
