"""Whom a request is from, where a trusted proxy has passed it on.

Only the peers in CI_TRUSTED_PROXIES are believed. Of several addresses, the last one counts that is not a trusted
proxy's, since it may have sent everything before that.
"""

import re
from ipaddress import ip_address
from typing import Final

from starlette.types import Scope

from ci_common.parsing.peers import Peers

FORWARDED: Final = "ci_server.forwarded"
"""In a scope: the request has come through a trusted proxy."""
_PAIR: Final = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s";,]*)\s*')
_SCHEMES: Final = frozenset({"http", "https"})
_Hop = dict[str, str]


class Forwarding:
    """What proxies say of the requests that they pass on."""

    def __init__(self, trusted: Peers) -> None:
        self._trusted = trusted

    def apply(self, scope: Scope) -> None:
        """Put the client's own address, scheme and host into the scope, and no address where it is not told."""
        if not self._trusted or scope["type"] != "http":
            return
        peer = scope.get("client")
        if (peer[0] if peer else None) not in self._trusted:
            return
        hops = _hops_of(scope)
        if not hops:
            return
        hop = self._sender(hops)
        address = _address(hop.get("for"))
        scope[FORWARDED] = True
        scope["client"] = None if address is None else (address, 0)
        if (scheme := hop.get("proto", "").lower()) in _SCHEMES:
            scope["scheme"] = scheme
        if host := hop.get("host"):
            others = [each for each in scope["headers"] if each[0] != b"host"]
            scope["headers"] = [*others, (b"host", host.encode("latin-1"))]

    def _sender(self, kinds: list[list[_Hop]]) -> _Hop:
        """Return what is said of the first sender; nothing if two kinds of headers differ.

        Proxies set one kind, and pass the other one on as a client has sent it.
        """
        senders = [next((hop for hop in reversed(hops) if not self._is_proxy(hop)), hops[0]) for hops in kinds]
        alike = len({_address(sender.get("for")) for sender in senders}) == 1
        return senders[-1] if alike else {}

    def _is_proxy(self, hop: _Hop) -> bool:
        address = _address(hop.get("for"))
        return address is not None and address in self._trusted


def _hops_of(scope: Scope) -> list[list[_Hop]]:
    """Return what the proxies on the way have noted, the last of them last, by each kind of headers that there is."""
    standard = [_hop_of(element) for element in _split(_values(scope, b"forwarded"))]
    return [hops for hops in (standard, _usual_hops_of(scope)) if hops]


def _usual_hops_of(scope: Scope) -> list[_Hop]:
    addresses = [part.strip() for part in _values(scope, b"x-forwarded-for").split(",") if part.strip()]
    if not addresses:
        return []
    hops: list[_Hop] = [{"for": address} for address in addresses]
    for name, key in ((b"x-forwarded-proto", "proto"), (b"x-forwarded-host", "host")):
        values = [part.strip() for part in _values(scope, name).split(",") if part.strip()]
        if len(values) == 1:  # Most proxies replace these two, and add to the addresses.
            values *= len(hops)
        for hop, value in zip(reversed(hops), reversed(values), strict=False):
            hop[key] = value
    return hops


def _values(scope: Scope, name: bytes) -> str:
    return ", ".join(str(value, "latin-1") for key, value in scope["headers"] if key == name)


def _split(text: str) -> list[str]:
    """Return the elements between commas, but those within quotes."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+', text)


def _hop_of(element: str) -> _Hop:
    """Return what one element says; nothing if it is malformed."""
    hop: _Hop = {}
    for pair in element.split(";"):
        match = _PAIR.fullmatch(pair)
        if match is None:
            return {}
        hop[match[1].lower()] = match[2].strip('"')
    return hop


def _address(text: str | None) -> str | None:
    """Return the address in `192.0.2.7`, `192.0.2.7:80` or `[::1]:80`; None for names and what hides them."""
    if not text:
        return None
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ip_address(bare.partition("%")[0]))  # What names an interface may be any text.
    except ValueError:
        return None
