"""Byte ranges as RFC 9110 has them."""

import pytest

from ci_server.http.ranges import ByteRange, NotSatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes = 2 - 4", (2, 5)),
    ],
)
def test_a_range(header: str, expected: tuple[int, int]) -> None:
    assert parse_range(header, 10) == ByteRange(*expected)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes=0x1-"],
)
def test_all_of_it(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_none_of_it(header: str, size: int) -> None:
    with pytest.raises(NotSatisfiable):
        parse_range(header, size)
