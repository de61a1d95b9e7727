"""What a client would like to be answered with."""

from collections.abc import Iterable, Iterator
from email.message import Message


def accepted_types(accept: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield media type and version of what `Accept` headers name, the most liked first."""
    liked: list[tuple[float, str, str]] = []
    for header in accept:
        for text in header.split(","):
            one = Message()
            one["Content-Type"] = text.strip()
            try:
                quality = float(str(one.get_param("q", "1")))
            except ValueError:
                quality = 0.0
            if quality > 0:
                kind = text.partition(";")[0].strip().lower()
                liked.append((quality, kind, str(one.get_param("version", ""))))
    for _, kind, version in sorted(liked, key=lambda each: -each[0]):
        yield kind, version
