"""Finds secrets in bytes and texts, also in other forms than their own, and masks them.

A byte is masked if any occurrence of any form covers it. That depends on nothing but the bytes around it, so however a
log is cut into reads, the same bytes are masked.
"""

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol
from urllib.parse import quote, quote_plus

from ci_common.secrets.values import LEAST_CHARACTERS, why_not_masked

MASK: Final = "***"
_LINE_ENDS: Final = b"\r\n"
_LINE_END: Final = re.compile(rb"[\r\n]")
_ESCAPE: Final = re.compile("%[0-9A-F]{2}")
_LEAST_LINE: Final = 16
"""The fewest characters of a line, or of a text in a JSON document, that is masked by itself."""
_LEAST_WRAPPED: Final = 16
"""The fewest characters in a line of a form that was broken into lines."""
_STAR: Final = ord("*")


class Maskable(Protocol):
    """What masks texts."""

    @property
    def masks_nothing(self) -> bool:
        """Whether every text stays as it is."""

    def text(self, text: str) -> str:
        """Return `text` with `***` in place of each occurrence."""


class Masked(Protocol):
    """What tells which bytes are to be masked."""

    reach: int
    """The most bytes of one occurrence."""

    def covered(self, data: bytes) -> list[tuple[int, int]]:
        """Return where occurrences begin and end in `data`, in any order."""

    def open_from(self, data: bytes) -> int:
        """Return the first place from which `data` may be the beginning of an occurrence; its length if none is."""

    def text(self, text: str) -> str:
        """Return `text` with `***` in place of each occurrence."""


class Masks:
    """The forms of some values: as they are, URL-encoded, in JSON, in HTML, in base64 at any offset, and broken into
    lines. Values that cannot be masked are left out.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        plain: set[bytes] = set()
        broken: set[bytes] = set()
        for value in values:
            if why_not_masked(value) is None:
                plain |= set(_plain_forms(value.strip()))
                broken |= set(_broken_forms(value.strip()))
        self._plain = sorted(form for form in plain if len(form) >= LEAST_CHARACTERS)
        self._broken = sorted(form for form in broken if len(form) >= LEAST_CHARACTERS)
        spans = [*map(len, self._plain), *map(_span, self._broken)]
        self.reach = max(spans, default=0)

    def __bool__(self) -> bool:
        return self.reach > 0

    def covered(self, data: bytes) -> list[tuple[int, int]]:
        """As `Masked` has it."""
        found = [(start, start + len(form)) for form in self._plain for start in _occurrences(form, data)]
        if self._broken:
            found += self._broken_in(data)
        return found

    def _broken_in(self, data: bytes) -> Iterator[tuple[int, int]]:
        whole = data.translate(None, _LINE_ENDS)
        places: _Places | None = None
        for form in self._broken:
            for start in _occurrences(form, whole):
                places = places or _Places(data)
                first, last = places.of(start), places.of(start + len(form) - 1)
                if last + 1 - first <= _span(form):
                    yield first, last + 1

    def open_from(self, data: bytes) -> int:
        """As `Masked` has it."""
        tail = data[-self.reach :] if self.reach else b""
        begins = len(data) - len(tail)
        opened = min((_open_from(form, tail) for form in self._plain), default=len(tail))
        if self._broken:
            opened = min(opened, self._broken_open_from(tail))
        return begins + opened

    def _broken_open_from(self, tail: bytes) -> int:
        whole, places, opened = tail.translate(None, _LINE_ENDS), _Places(tail), len(tail)
        for form in self._broken:
            for start in _opened(form, whole):
                place = places.of(start)
                # With so many line ends in between, it cannot become an occurrence any more.
                if len(tail) - place < _span(form):
                    opened = min(opened, place)
                    break
        return opened

    def text(self, text: str) -> str:
        """Return `text` with `***` in place of each occurrence."""
        if not self:
            return text
        data = text.encode("utf-8", "surrogatepass")
        spans = _merged(self.covered(data))
        if not spans:
            return text
        parts, position = [], 0
        for start, end in spans:
            parts += [data[position:start], MASK.encode()]
            position = end
        return b"".join([*parts, data[position:]]).decode("utf-8", "surrogatepass")


class Everything:
    """Masks everything, where it is not known what would have to be masked."""

    reach = 1

    def covered(self, data: bytes) -> list[tuple[int, int]]:
        """Return all."""
        return [(0, len(data))] if data else []

    def open_from(self, data: bytes) -> int:
        """Return the end: nothing has to be waited for."""
        return len(data)

    def text(self, text: str) -> str:
        """Return `***` for any text that is not empty."""
        return MASK if text else text


def stars(data: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """Return `data` with a star in place of each byte in `spans`, but for line ends, so that all lines stay."""
    merged = _merged(spans)
    if not merged:
        return data
    masked = bytearray(data)
    for start, end in merged:
        masked[start:end] = bytes(byte if byte in _LINE_ENDS else _STAR for byte in data[start:end])
    return bytes(masked)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _occurrences(form: bytes, data: bytes) -> Iterator[int]:
    """Yield where the form begins in `data`, also where it overlaps with itself."""
    start = data.find(form)
    while start >= 0:
        yield start
        start = data.find(form, start + 1)


def _opened(form: bytes, data: bytes) -> Iterator[int]:
    """Yield from where on `data` is the beginning of the form, without being all of it; the longest first."""
    start = data.find(form[:1], max(0, len(data) - len(form) + 1))
    while start >= 0:
        if form.startswith(data[start:]):
            yield start
        start = data.find(form[:1], start + 1)


def _open_from(form: bytes, data: bytes) -> int:
    return next(_opened(form, data), len(data))


def _span(form: bytes) -> int:
    """Return the most bytes of a form that is broken into lines, each of which has so many characters or more."""
    return len(form) + 2 * (len(form) // _LEAST_WRAPPED + 2)


class _Places:
    """Where the bytes of `data` are that are no line ends."""

    def __init__(self, data: bytes) -> None:
        # The number of bytes before each line end that are none.
        self._before = [match.start() - number for number, match in enumerate(_LINE_END.finditer(data))]

    def of(self, index: int) -> int:
        """Return the place in `data` of the byte that has `index` without the line ends."""
        return index + bisect_right(self._before, index)


def _plain_forms(value: str) -> Iterator[bytes]:
    """Yield what is searched for as it stands."""
    texts = [value, *_parts(value)]
    for text in texts:
        if "\n" not in text and "\r" not in text:
            yield text.encode()
        yield json.dumps(text)[1:-1].encode()
        yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
        yield html.escape(text).encode()
        for escaped in (quote(text, safe=""), quote(text), quote_plus(text)):
            yield escaped.encode()
            yield _ESCAPE.sub(lambda match: match[0].lower(), escaped).encode()
    yield value.replace("'", "'\\''").encode()


def _broken_forms(value: str) -> Iterator[bytes]:
    """Yield what is searched for without regard to line ends."""
    raw = value.encode()
    if b"\n" in raw or b"\r" in raw:
        yield raw.translate(None, _LINE_ENDS)
    for text in {raw, raw.replace(b"\r\n", b"\n")}:
        for before in range(3):
            # The characters that depend on the value alone, whatever stands before and behind it.
            encoded = base64.b64encode(bytes(before) + text + bytes(2))
            inner = encoded[-(-before * 8 // 6) : (before + len(text)) * 8 // 6]
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _parts(value: str) -> Iterator[str]:
    """Yield the parts of a value that are masked by themselves: the texts in a JSON document, or else its lines."""
    if value.startswith(("{", "[")):
        try:
            yield from (text for text in _texts(json.loads(value)) if _stands_alone(text))
            return
        except (ValueError, RecursionError):
            pass
    if "\n" in value:
        yield from (line for line in map(str.strip, value.splitlines()) if _stands_alone(line))


def _stands_alone(text: str) -> bool:
    return len(text) >= _LEAST_LINE and not text.startswith("-----") and why_not_masked(text) is None


def _texts(document: object) -> Iterator[str]:
    match document:
        case str():
            yield document
        case list():
            for each in document:
                yield from _texts(each)
        case dict():
            for each in document.values():
                yield from _texts(each)


def everywhere(masks: Maskable | Masked, value: Any) -> Any:
    """Return a JSON value with all of its texts masked, names of objects too."""
    match value:
        case str():
            return masks.text(value)
        case list():
            return [everywhere(masks, each) for each in value]
        case dict():
            return {masks.text(name): everywhere(masks, each) for name, each in value.items()}
    return value
