"""What a client would like to be answered with."""

from collections.abc import Iterable, Iterator

_MOST_TYPES = 64
"""Media types of a header that are looked at; browsers send fewer than ten."""
_MOST_PARAMETERS = 8


def accepted_types(accept: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield media type and version of what `Accept` headers name, the most liked first.

    Headers may have thousands of types, so only the first ones of each count, and the first parameters of each type.
    """
    liked: list[tuple[float, str, str]] = []
    for header in accept:
        for text in header.split(",", _MOST_TYPES)[:_MOST_TYPES]:
            kind, *rest = text.split(";", _MOST_PARAMETERS)[: _MOST_PARAMETERS + 1]
            parameters = dict(_parameter(one) for one in rest)
            try:
                quality = float(parameters.get("q", "1"))
            except ValueError:
                quality = 0.0
            if quality > 0:
                liked.append((quality, kind.strip().lower(), parameters.get("version", "")))
    for _, kind, version in sorted(liked, key=lambda each: -each[0]):
        yield kind, version


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')
