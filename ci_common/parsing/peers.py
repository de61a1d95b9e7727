"""The settings with the proxies whose word counts, and with the origins of pages that may use the API."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import PlainValidator

from ci_common.parsing.hosts import canonical_host

UNIX = "unix"
"""The peers of a Unix socket, which have no address."""


@dataclass(frozen=True, slots=True)
class Peers:
    """A list of addresses and networks in a setting."""

    text: str
    """The text of the setting."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    def __contains__(self, address: str | None) -> bool:
        """Return whether an address is in the list; None is that of a peer of a Unix socket."""
        if address is None:
            return self.unix
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks)

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Origins:
    """A list of origins in a setting."""

    text: str
    """The text of the setting."""
    listed: frozenset[str] = frozenset()

    def __contains__(self, origin: str | None) -> bool:
        return origin in self.listed

    def __bool__(self) -> bool:
        return bool(self.listed)

    def __str__(self) -> str:
        return self.text


def parse_peers(value: object) -> Peers:
    """Parse addresses and networks separated by commas; `unix` stands for the peers of a Unix socket."""
    if isinstance(value, Peers):
        return value
    text = str(value).strip()
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    networks = []
    for entry in entries:
        if entry == UNIX:
            continue
        try:
            networks.append(ip_network(entry))
        except ValueError:
            raise ValueError(
                f"{entry!r} is neither an address nor a network; write 127.0.0.1, 10.0.0.0/8, ::1, or {UNIX} for a "
                "Unix socket"
            ) from None
    return Peers(text, tuple(networks), UNIX in entries)


def parse_origins(value: object) -> Origins:
    """Parse origins separated by commas."""
    if isinstance(value, Origins):
        return value
    text = str(value).strip()
    return Origins(text, frozenset(_origin(entry.strip()) for entry in text.split(",") if entry.strip()))


def _origin(entry: str) -> str:
    try:
        parts = urlsplit(entry)
        host, port = canonical_host(parts.hostname or ""), parts.port
        if (
            parts.scheme not in ("http", "https")
            or host is None
            or entry.rstrip("/") != f"{parts.scheme}://{parts.netloc}"
        ):
            raise ValueError
        if parts.username is not None or "*" in entry:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{entry!r} is not an origin; write the scheme and the host of the pages, as in https://ui.example.org"
        ) from None
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + ("" if port in (None, usual) else f":{port}")


TrustedPeers = Annotated[Peers, PlainValidator(parse_peers)]
"""Addresses and networks of proxies."""
NamedOrigins = Annotated[Origins, PlainValidator(parse_origins)]
"""Origins of pages, in the form in which browsers send them."""
