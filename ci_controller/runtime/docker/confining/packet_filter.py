"""The rules of the machine's packet filter for the networks of one installation's containers.

The bridges of an installation have names that begin alike, and one set of rules is for all of them. So a job costs no
rule, and a network that is made after the rules is never without them. They are in two chains of their own: for what is
forwarded, which the engine's chain DOCKER-USER leads to, and for what goes to this machine.
"""

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ci_common.parsing.networks import Destination

PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
)
"""What is not the internet: private and shared networks, link-local addresses with the one for metadata, multicast."""
INTERFACES = Path("/sys/class/net")
_NET_ADMIN = 12
_PATIENCE = 10.0
_TIMES = 3
"""How often the rules are put in place before it is given up."""
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_CHAIN = re.compile(r"^-N CI-([0-9a-f]{6})-OUT$", re.MULTILINE)


class CannotFilter(Exception):
    """The packet filter cannot be changed from here. `str()` says why."""


def bridges_of(installation_id: str) -> str:
    """Return how the names of an installation's bridges begin; a name has at most 15 characters."""
    return f"ci{_mark_of(installation_id)}"


def _mark_of(installation_id: str) -> str:
    return hashlib.sha256(installation_id.encode()).hexdigest()[:6]


class PacketFilter:
    """The rules of one installation. Every method may be repeated."""

    def __init__(self, installation_id: str) -> None:
        self._mark = _mark_of(installation_id)

    @staticmethod
    def check() -> None:
        """Raise CannotFilter if this process may not change the packet filter."""
        if _tool("iptables") is None:
            raise CannotFilter("iptables is not installed here")
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        rights = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
        if rights is None or not int(rights[1], 16) >> _NET_ADMIN & 1:
            raise CannotFilter("the controller may not change the packet filter, for which it needs CAP_NET_ADMIN")

    async def install(self, allowed: Iterable[Destination]) -> None:
        """Put the rules in place, also where others have changed them. Raises CannotFilter."""
        await asyncio.to_thread(self._install, tuple(allowed))

    def _install(self, allowed: tuple[Destination, ...]) -> None:
        self.check()
        for left in reversed(range(_TIMES)):
            try:
                self._put(allowed)
                break
            except CannotFilter:
                # Until there is a bridge, another controller may take the chains for those of one that has died.
                if not left:
                    raise

    def _put(self, allowed: tuple[Destination, ...]) -> None:
        _run("iptables-restore", "--noflush", "--wait", "5", given=self._rules(allowed))
        for hook in self._hooks():
            if not _succeeds("iptables", "--wait", "5", "--check", *hook):
                _run("iptables", "--wait", "5", "--insert", *hook)
        for hook in self._hooks_v6():
            # Containers have no addresses of IPv6, so this is for those that take one.
            if _tool("ip6tables") is not None and not _succeeds("ip6tables", "--wait", "5", "--check", *hook):
                _succeeds("ip6tables", "--wait", "5", "--insert", *hook)

    async def holds(self) -> bool:
        """Return whether the rules are in place."""
        return await asyncio.to_thread(self.is_in_place)

    def is_in_place(self) -> bool:
        """As `holds`, for a thread."""
        rejects = [[f"CI-{self._mark}-OUT", "-d", PRIVATE[-1], "-j", "REJECT"], [f"CI-{self._mark}-IN", "-j", "REJECT"]]
        return all(_succeeds("iptables", "--wait", "5", "--check", *rule) for rule in [*self._hooks(), *rejects])

    async def remove(self) -> None:
        """Take the rules away, unless a bridge is left that needs them."""
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        if _is_used(self._mark):
            return
        for hook in self._hooks():
            while _succeeds("iptables", "--wait", "5", "--delete", *hook):
                pass
        for hook in self._hooks_v6():
            while _tool("ip6tables") is not None and _succeeds("ip6tables", "--wait", "5", "--delete", *hook):
                pass
        for chain in (f"CI-{self._mark}-OUT", f"CI-{self._mark}-IN"):
            _succeeds("iptables", "--wait", "5", "--flush", chain)
            _succeeds("iptables", "--wait", "5", "--delete-chain", chain)

    async def remove_left(self) -> None:
        """Take away the rules of installations that have no bridge: their controllers died, or make new ones."""
        await asyncio.to_thread(self._remove_left)

    def _remove_left(self) -> None:
        listed = _run("iptables", "--wait", "5", "--list-rules")
        for mark in _CHAIN.findall(listed):
            if mark != self._mark:
                other = PacketFilter.__new__(PacketFilter)
                other._mark = mark
                other._remove()

    def _hooks(self) -> list[list[str]]:
        forwarded = "DOCKER-USER" if _succeeds("iptables", "--wait", "5", "-n", "--list", "DOCKER-USER") else "FORWARD"
        return [
            [forwarded, "-i", f"ci{self._mark}+", "-j", f"CI-{self._mark}-OUT"],
            ["INPUT", "-i", f"ci{self._mark}+", "-j", f"CI-{self._mark}-IN"],
        ]

    def _hooks_v6(self) -> list[list[str]]:
        return [[chain, "-i", f"ci{self._mark}+", "-j", "DROP"] for chain in ("FORWARD", "INPUT")]

    def _rules(self, allowed: tuple[Destination, ...]) -> str:
        """Return both chains, which replace those that are there at one stroke.

        What is forwarded to another bridge of ours returns to the engine's rules, which let through what stays on one
        bridge, and nothing between two.
        """
        forwarded, here = f"CI-{self._mark}-OUT", f"CI-{self._mark}-IN"
        answers = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
        open_to = [rule for each in allowed for rule in _open(each)]
        return "\n".join(
            [
                "*filter",
                f":{forwarded} - [0:0]",
                f":{here} - [0:0]",
                f"-A {forwarded} {answers}",
                f"-A {forwarded} -o ci{self._mark}+ -j RETURN",
                *(f"-A {forwarded} {rule}" for rule in open_to),
                *(f"-A {forwarded} -d {network} -j REJECT" for network in PRIVATE),
                f"-A {here} {answers}",
                *(f"-A {here} {rule}" for rule in open_to),
                f"-A {here} -j REJECT",
                "COMMIT",
                "",
            ]
        )


def _open(destination: Destination) -> list[str]:
    if destination.port is None:
        return [f"-d {destination.network} -j RETURN"]
    return [f"-d {destination.network} -p {name} --dport {destination.port} -j RETURN" for name in ("tcp", "udp")]


def _is_used(mark: str) -> bool:
    return any(name.startswith(f"ci{mark}") for name in os.listdir(INTERFACES))


def _tool(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def _succeeds(name: str, *arguments: str) -> bool:
    try:
        _run(name, *arguments)
    except CannotFilter:
        return False
    return True


def _run(name: str, *arguments: str, given: str | None = None) -> str:
    """Return what a program of the packet filter writes. Raises CannotFilter if it fails."""
    program = _tool(name)
    if program is None:
        raise CannotFilter(f"{name} is not installed here")
    try:
        done = subprocess.run(  # noqa: S603  # nothing of a job is in it
            [program, *arguments], input=given, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CannotFilter(f"{name} cannot be run: {exc}") from exc
    if done.returncode:
        problem = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[0]
        raise CannotFilter(f"{name} refuses the rules: {problem}")
    return done.stdout
