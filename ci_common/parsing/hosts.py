"""Names of hosts: how a request gives one in `Host`, and how the setting lists those that are taken."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Annotated

from pydantic import PlainValidator

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_LONGEST_NAME = 253
_LAST_PORT = 65535
_WILDCARD = "*."


def host_of(authority: str) -> str | None:
    """Return the host of `HOST` or `HOST:PORT` in the form that is compared, or None where the text is neither."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[2] or 0) > _LAST_PORT:
        return None
    return canonical_host(match[1])


def canonical_host(host: str) -> str | None:
    """Return a name in lower case without a last dot, or an address as Python writes it; None for anything else.

    An IPv6 address may stand in brackets. An IPv4 address within IPv6 becomes the IPv4 address.
    """
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host.partition("%")[0])
    except ValueError:
        name = host.lower().removesuffix(".")
        return name if not bracketed and len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) else None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or address)
    return None if bracketed else str(address)


@dataclass(frozen=True, slots=True)
class HostNames:
    """The names that a setting lists."""

    text: str
    """As the setting says it."""
    exact: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    """What stands behind `*.`."""
    every: bool = False
    """Whether `*` is among them."""

    def __contains__(self, host: str) -> bool:
        """Tell whether a name, in the form that `canonical_host` returns, is among them."""
        if self.every or host in self.exact:
            return True
        labels = host.split(".")
        return any(".".join(labels[start:]) in self.parents for start in range(1, len(labels)))

    def __str__(self) -> str:
        return self.text


def parse_host_names(value: object) -> HostNames:
    """Read names that are separated by commas; `*.example.org` is all below that name, `*` is every name."""
    if isinstance(value, HostNames):
        return value
    text = str(value).strip()
    exact, parents, every = set[str](), set[str](), False
    for entry in filter(None, (part.strip() for part in text.split(","))):
        if entry == "*":
            every = True
            continue
        name = canonical_host(entry.removeprefix(_WILDCARD))
        if name is None:
            raise ValueError(
                f"{entry!r} is not the name of a host; write a name (ci.example.org), all names below one "
                "(*.example.org), an address (192.0.2.7) or * for every name, without scheme and port"
            )
        (parents if entry.startswith(_WILDCARD) else exact).add(name)
    return HostNames(text, frozenset(exact), frozenset(parents), every)


Hosts = Annotated[HostNames, PlainValidator(parse_host_names)]
