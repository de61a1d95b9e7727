"""Server-sent events as the HTML standard reads them: what the Web Platform Tests of EventSource check of the format.

The client reads events with data alone; those without any are of no use to it.
"""

from collections.abc import AsyncIterator

import httpx
import pytest

from ci_client.events import lines_of

CASES: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "one": ("data: a\n\n", [("", "a", "")]),
    "two": ("data: a\n\ndata: b\n\n", [("", "a", ""), ("", "b", "")]),
    "several lines of data are joined": ("data: a\ndata: b\ndata:\ndata: c\n\n", [("", "a\nb\n\nc", "")]),
    "only one space is left out": ("data:  a\ndata:\tb\ndata:c \n\n", [("", " a\n\tb\nc ", "")]),
    "a field without a colon is empty": ("data\ndata\n\n", [("", "\n", "")]),
    "nothing but white space is no end": ("data: a\n \ndata: b\n\n", [("", "a\nb", "")]),
    "carriage returns": ("data: a\r\rdata: b\r\r", [("", "a", ""), ("", "b", "")]),
    "both, and mixed": ("data: a\r\ndata: b\r\n\r\ndata: c\n\r", [("", "a\nb", ""), ("", "c", "")]),
    "other line ends are text": ("data: a\x0bb\x0cc\x85d\u2028e\n\n", [("", "a\x0bb\x0cc\x85d\u2028e", "")]),
    "comments": (":\n: x\ndata: a\n:data: b\n\n:\n\n", [("", "a", "")]),
    "a long comment": (":" + "x" * 200_000 + "\ndata: a\n\n", [("", "a", "")]),
    "names count exactly": ("Data: a\n data: b\ndata : c\ndat: d\ndata: e\n\n", [("", "e", "")]),
    "unknown fields": ("justsome: text\ndata: a\nmessage: b\n\n", [("", "a", "")]),
    "a type": ("event: x\ndata: a\n\ndata: b\n\n", [("x", "a", ""), ("", "b", "")]),
    "the last type": ("event: x\nevent: y\ndata: a\n\n", [("y", "a", "")]),
    "an empty type": ("event: x\nevent:\ndata: a\n\n", [("", "a", "")]),
    "an event without data": ("event: x\n\ndata: a\n\n", [("", "a", "")]),
    "an id stays": ("id: 1\ndata: a\n\ndata: b\n\n", [("", "a", "1"), ("", "b", "1")]),
    "an id may come alone": ("id: 1\n\ndata: a\n\n", [("", "a", "1")]),
    "an id is taken back": ("id: 1\ndata: a\n\nid\ndata: b\n\n", [("", "a", "1"), ("", "b", "")]),
    "an id with a NUL is none": ("id: 1\nid: 2\0\ndata: a\n\n", [("", "a", "1")]),
    "an id may be any text": ("id:  …\ndata: a\n\n", [("", "a", " …")]),
    "a pause": ("retry: 1000\ndata: a\n\nretry: soon\ndata: b\n\n", [("", "a", ""), ("", "b", "")]),
    "what has no end is none": ("data: a\n\ndata: b\n", [("", "a", "")]),
    "a colon in the data": ("data: a: b\ndata::c\n\n", [("", "a: b\n:c", "")]),
    "a NUL in the data": ("data: a\0b\n\n", [("", "a\0b", "")]),
    "a byte order mark": ("\ufeffdata: a\n\n", [("", "a", "")]),
    "two of them": ("\ufeff\ufeffdata: a\n\ndata: b\n\n", [("", "b", "")]),
    "one that is not at the beginning": ("data: a\n\n\ufeffdata: b\n\ndata: c\n\n", [("", "a", ""), ("", "c", "")]),
}


async def events_in(body: bytes, size: int, media_type: str = "text/event-stream") -> list[tuple[str, str, str]]:
    """Return type, data and id of the events in a body that comes in pieces of `size` bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    response = httpx.Response(200, headers={"Content-Type": media_type}, content=pieces())
    return [("" if e.event == "message" else e.event, e.data, e.id) async for e in lines_of(response) if e.data]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
async def test_what_an_event_is(name: str, size: int) -> None:
    body, expected = CASES[name]
    assert await events_in(body.encode(), size) == expected


@pytest.mark.parametrize("media_type", ["text/event-stream;charset=windows-1252", "text/event-stream;charset=x"])
async def test_it_is_utf_8_whatever_the_type_says(media_type: str) -> None:
    assert await events_in("data: ok…\n\n".encode(), 5, media_type) == [("", "ok…", "")]


async def test_what_is_not_utf_8_is_replaced() -> None:
    assert await events_in(b"data: a\xff\xe2\x82\n\n", 3) == [("", "a\ufffd\ufffd", "")]
