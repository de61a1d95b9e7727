"""A private Docker engine: own socket, data, bridge and containerd, all of it gone afterwards."""

import ctypes
import ipaddress
import os
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
_NETWORKS = [ipaddress.ip_network(f"10.{213 + n}.0.0/24") for n in range(20)]


@contextmanager
def private_engine() -> Iterator[EngineAPI]:
    """Install what is missing, run an engine, and stop it. Needs root. Raises EngineError."""
    install_packages(PACKAGES)
    with ExitStack() as stack:
        stack.enter_context(_cgroups())
        bridge = stack.enter_context(_bridge())
        # A short path, because a socket's has at most 107 bytes; data on a disk, because overlays do not nest.
        runtime = Path(stack.enter_context(_directory("/run")))
        data = Path(stack.enter_context(_directory("/var/tmp")))
        yield stack.enter_context(_daemon(runtime, data, bridge))


@contextmanager
def _daemon(runtime: Path, data: Path, bridge: str) -> Iterator[EngineAPI]:
    url = f"unix://{runtime / 'docker.sock'}"
    log = data / "dockerd.log"
    command = [
        "dockerd",
        *("--host", url),
        *("--data-root", str(data / "data")),
        *("--exec-root", str(runtime / "exec")),
        *("--pidfile", str(runtime / "docker.pid")),
        *("--config-file", str(data / "daemon.json")),
        *("--bridge", bridge),
    ]
    (data / "daemon.json").write_text("{}\n")
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True, preexec_fn=_die_with_parent
        )
    try:
        engine = EngineAPI(url)
        deadline = time.monotonic() + START_SECONDS
        while not engine.answers():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd did not come up:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)
        yield engine
    finally:
        _stop(daemon)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


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
        return
    raise EngineError("no network bridge could be made: this needs the right to administer the network")


def _ip(*arguments: str) -> str:
    """Run `ip`; return what it complains of, or an empty text."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip() or "ip failed" if done.returncode else ""


def _routed(network: ipaddress.IPv4Network) -> bool:
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    destinations = [line.split()[0] for line in routes.splitlines() if line[:1].isdigit()]
    return any(ipaddress.ip_network(destination, strict=False).overlaps(network) for destination in destinations)


@contextmanager
def _cgroups() -> Iterator[None]:
    """Mount control groups where nobody has, as in a machine without systemd."""
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
