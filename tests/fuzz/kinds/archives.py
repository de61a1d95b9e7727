"""Archives whose names, links and headers are not what honest programs write."""

import struct
from functools import lru_cache

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts
from tests.fuzz.kinds.uploads import uploaded
from tests.fuzz.kinds.zip_writer import EXECUTABLE, FOLDER, LINK, REGULAR, Ending, Member, archive_of
from tests.fuzz.message import Message

_NAMES = (
    b"a",
    b"a/b",
    b"a/",
    b"./a",
    b"a//b",
    b"../a",
    b"a/../b",
    b"/a",
    b"C:/a",
    b"C:\\a",
    b"a\\b",
    b"..\\a",
    b"",
    b"/",
    b".",
    b"a\0b",
    b"\xff\xfe",
    "é".encode(),
    "é".encode("cp437"),
    b"ci.yaml",
    b"a\nb",
    b"\x1b[2J",
    b"CON",
    b"n" * 255,
    b"n" * 256,
    b"a/" * 300 + b"a",
    b"a/" * 990 + b"a",
    b"a/" * 1023 + b"a",
    b"a/" * 1024 + b"a",
    b"n" * 65_535,
)
_MODES = (REGULAR, EXECUTABLE, FOLDER, LINK, 0o020666, 0o060666, 0o010666, 0o140777, 0o104755, 0, 0o177777)
_TARGETS = (
    b"a",
    b"..",
    b"../..",
    b"/etc/passwd",
    b".",
    b"",
    b"a\0b",
    b"\xff",
    b"self",
    b"d/" * 1_000,
    b"a" * 4_095,
    b"a" * 4_096,
    b"a" * 4_097,
)
_NUMBERS = (0, 1, 3, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_METHODS = (0, 8, 9, 12, 14, 93, 95, 97, 99, 0xFFFF)
_FLAGS = (0, 0x1, 0x8, 0x20, 0x40, 0x800, 0x2000, 0xFFFF)
_EXTRAS = (
    b"",
    struct.pack("<HHQQQ", 1, 24, 1, 1, 0),
    struct.pack("<HHQ", 1, 8, 2**64 - 1),
    struct.pack("<HH", 1, 0xFFFF),
    struct.pack("<HHBI", 0x7075, 5, 1, 0) + b"../a",
    b"\1",
    bytes(65_535),
)
_LIES: dict[str, tuple[object, ...]] = {
    "crc": _NUMBERS,
    "packed": _NUMBERS,
    "size": _NUMBERS,
    "offset": _NUMBERS,
    "local_name": (b"b", b"", b"../b"),
    "local_flags": _FLAGS,
    "local_size": _NUMBERS,
    "extra": _EXTRAS,
    "attributes": _NUMBERS,
    "comment": (b"c", b"PK\5\6" + bytes(18), b"c" * 65_535),
    "version": (0, 45, 63, 255),
    "method": _METHODS,
    "flags": _FLAGS,
    "system": (0, 3, 10, 19, 255),
    "mode": _MODES,
}
_ZIP64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 46, 0) + b"PK\6\7" + struct.pack("<IQI", 0, 0, 1)
_CHAINS = (10, 41, 300, 1_000)
_SPEC = '{"command": ":"}'


def generate(choices: Choices) -> Message:
    return uploaded(choices.pick(_MAKERS)(choices), _SPEC)


def _headers(choices: Choices) -> bytes:
    return archive_of([_member(choices) for _ in range(choices.between(1, 4))], Ending())


def _member(choices: Choices) -> Member:
    name = choices.pick(_NAMES) if choices.chance(80) else texts.encodable(texts.text(choices))[:65_535]
    fields: dict[str, object] = {"content": choices.pick((b"x", b"", b"y" * 5_000, b"command: ':'"))}
    if choices.chance(15):
        fields |= {"content": choices.pick(_TARGETS), "mode": LINK}
    for lie in choices.several(3, lambda c: c.pick(tuple(_LIES))):
        fields[lie] = choices.pick(_LIES[lie])
    return Member(name, **fields)  # type: ignore[arg-type]


def _endings(choices: Choices) -> bytes:
    fields: dict[str, object] = {}
    for _ in range(choices.between(1, 3)):
        name = choices.pick(("members", "size", "offset", "disk", "comment", "zip64", "prefix", "suffix"))
        fields[name] = choices.pick(
            {"comment": (b"x", b"PK\5\6", b"c" * 65_535), "zip64": (_ZIP64, _ZIP64[:60]), "disk": (1, 0xFFFF)}.get(
                name, (b"#!/bin/sh\n", b"PK\3\4", bytes(70_000)) if name in ("prefix", "suffix") else _NUMBERS
            )
        )
    members = [Member(b"a", b"x"), Member(b"b/c", b"y", method=8)]
    return archive_of(members, Ending(**fields))  # type: ignore[arg-type]


def _links(choices: Choices) -> bytes:
    """Return links that lead to links: in a chain, all to its begin, in circles, and by very long ways."""
    length = choices.pick(_CHAINS)
    chain = [_link(f"l{n}", f"l{n + 1}") for n in range(length)]
    way = choices.below(5)
    if way == 0:
        members = [*chain, Member(f"l{length}".encode(), b"x")]
    elif way == 1:
        members = [*chain, *(_link(f"m{n}", "l0") for n in range(length))]
    elif way == 2:
        members = [*chain, _link(f"l{length}", choices.pick(("l0", ".", "..", "../..")))]
    elif way == 3:
        through = "d/" * choices.pick((10, 40, 1_000, 2_047))
        members = [_link("d", "."), *(_link(f"m{n}", through + choices.pick(("a", "..", "."))) for n in range(length))]
    else:
        members = [_link(f"l{n}", f"l{n + 1}/l{n + 1}") for n in range(length)]
    if choices.chance(20):
        members.reverse()
    return archive_of(members, Ending())


def _link(name: str, target: str) -> Member:
    return Member(name.encode(), target.encode()[:4_095], LINK)


def _bomb(choices: Choices) -> bytes:
    """Return much from little: one that is all zeros, members that share one content, or very many members."""
    way = choices.below(4)
    if way == 0:
        return archive_of([Member(b"a", _zeros(choices.pick((1_000, 1_000_000, 30_000_000))), method=8)], Ending())
    if way == 1:
        number, first = choices.pick((3, 100, 2_000)), Member(b"a", _zeros(choices.pick((100, 500_000))), method=8)
        others = [Member(f"a{n}".encode(), first.content, method=8, offset=0, is_absent=True) for n in range(number)]
        return archive_of([first, *others], Ending())
    if way == 2:
        return archive_of([Member(f"d{n}/".encode()) for n in range(choices.pick((10, 3_000, 20_000)))], Ending())
    deep = b"/".join([b"n" * choices.pick((1, 100))] * 15)
    return archive_of([Member(deep + f"/{n}".encode()) for n in range(choices.pick((10, 2_000)))], Ending())


@lru_cache(maxsize=8)
def _zeros(number: int) -> bytes:
    return bytes(number)


def _mutated(choices: Choices) -> bytes:
    """Return an honest archive with some bytes changed, or cut off."""
    data = bytearray(archive_of([Member(b"a", b"x" * 50), Member(b"b", b"y" * 500, method=8)], Ending()))
    for _ in range(choices.between(1, 4)):
        data[choices.below(len(data))] = choices.below(256)
    return bytes(data[: choices.below(len(data))] if choices.chance(20) else data)


_MAKERS = (_headers, _headers, _headers, _mutated, _mutated, _endings, _endings, _links, _links, _bomb)
