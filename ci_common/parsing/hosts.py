"""Host names: the value of the header `Host`, and the setting with the hosts that the server serves."""

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
    """Return the host in `HOST` or `HOST:PORT` in canonical form, or None if the text is neither."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[2] or 0) > _LAST_PORT:
        return None
    return canonical_host(match[1])


def canonical_host(host: str) -> str | None:
    """Return a name in lower case without a final dot, or an address in Python's notation; None for anything else.

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
    """A list of host names in a setting."""

    text: str
    """The text of the setting."""
    exact: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    """The names after `*.`."""
    every: bool = False
    """Whether `*` is in the list."""

    def __contains__(self, host: str) -> bool:
        """Return whether a name in the form of `canonical_host` is in the list."""
        if self.every or host in self.exact:
            return True
        labels = host.split(".")
        return any(".".join(labels[start:]) in self.parents for start in range(1, len(labels)))

    def __str__(self) -> str:
        return self.text


def parse_host_names(value: object) -> HostNames:
    """Parse names separated by commas; `*.example.org` means all names below that one, `*` means every name."""
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
                f"{entry!r} is not a host name; write a name (ci.example.org), all names below one "
                "(*.example.org), an address (192.0.2.7) or * for every name, without scheme and port"
            )
        (parents if entry.startswith(_WILDCARD) else exact).add(name)
    return HostNames(text, frozenset(exact), frozenset(parents), every)


Hosts = Annotated[HostNames, PlainValidator(parse_host_names)]
