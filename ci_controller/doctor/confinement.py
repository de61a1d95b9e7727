"""Whether containers are held back: by the rules for their network, and by the engine's profile of system calls."""

from collections.abc import Mapping
from typing import Any

from ci_common.findings import Finding
from ci_common.settings import Settings
from ci_controller.runtime.docker.confining.packet_filter import CannotFilter, PacketFilter
from ci_controller.runtime.docker.engine import Traits

_REMEDY = "run the controller as root on the engine's machine, or under systemd with AmbientCapabilities=CAP_NET_ADMIN"


def examine_confinement(settings: Settings, info: Mapping[str, Any], traits: Traits) -> list[Finding]:
    """Look at what the settings ask for, and whether it can be had here."""
    return [_network(settings, traits), _system_calls(info)]


def _network(settings: Settings, traits: Traits) -> Finding:
    name = "network of jobs"
    if settings.network == "open":
        message = "CI_NETWORK=open: jobs reach this machine and private networks"
        return Finding(name, None, message, "export CI_NETWORK=auto")
    try:
        if traits.unfiltered is not None:
            raise CannotFilter(traits.unfiltered)
        PacketFilter.check()
    except CannotFilter as exc:
        if settings.network == "confined":
            return Finding(name, False, f"{exc}; with CI_NETWORK=confined, only jobs without network run", _REMEDY)
        return Finding(name, None, f"{exc}; jobs reach this machine and private networks", _REMEDY)
    allowed = f", and {settings.network_allow}" if settings.network_allow.text else ""
    return Finding(name, True, f"the internet{allowed}, but neither this machine nor private networks")


def _system_calls(info: Mapping[str, Any]) -> Finding:
    name, options = "system calls", [str(each) for each in info.get("SecurityOptions") or ()]
    profile = next((each for each in options if "name=seccomp" in each), None)
    if profile is None or "unconfined" in profile:
        message = "the engine has no seccomp profile, so containers may use every system call of the kernel"
        remedy = 'take "seccomp-profile": "unconfined" out of /etc/docker/daemon.json, and restart the engine'
        return Finding(name, None, message, remedy)
    return Finding(name, True, "limited by the engine's seccomp profile")
