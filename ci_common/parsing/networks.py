"""The setting with the addresses that containers may reach although they are private."""

from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Annotated

from pydantic import PlainValidator

_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Destination:
    """Addresses, and one port of them or all."""

    network: IPv4Network
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Destinations:
    """A list of addresses in a setting."""

    text: str
    """The text of the setting."""
    listed: tuple[Destination, ...] = ()

    def __str__(self) -> str:
        return self.text


def parse_destinations(value: object) -> Destinations:
    """Parse addresses and networks separated by commas, each with a port or without."""
    if isinstance(value, Destinations):
        return value
    text = str(value).strip()
    return Destinations(text, tuple(_destination(entry.strip()) for entry in text.split(",") if entry.strip()))


def _destination(entry: str) -> Destination:
    addresses, colon, port = entry.partition(":")
    try:
        network = ip_network(addresses)
        if not isinstance(network, IPv4Network) or (colon and not 0 < int(port) <= _LAST_PORT):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{entry!r} is neither an IPv4 address nor a network; write 10.1.2.3, 10.1.0.0/16 or 10.1.2.3:443"
        ) from None
    return Destination(network, int(port) if colon else None)


AllowedDestinations = Annotated[Destinations, PlainValidator(parse_destinations)]
"""Addresses and networks, with or without a port."""
