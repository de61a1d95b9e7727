"""Durations and sizes."""

import math
import time
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ci_common.parsing.values import (
    ByteSize,
    Duration,
    Integer,
    NonNegativeDuration,
    Number,
    Plain,
    parse_duration,
    parse_integer,
    parse_number,
    parse_size,
)

NEVER = [
    True,
    False,
    None,
    [1],
    {},
    "",
    " ",
    "1_0",
    "\u0661\u0662",
    "\uff11",
    "1e",
    "0x10",
    "0o10",
    "x",
    "1 0",
    "9" * 33,
    "0" * 33,
]
"""What is neither a number nor a duration nor a size."""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        (" 1.5 ", 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1m0.25s", 60.25),
        ("1e2", 100),
        (Plain("090"), 90),
        (Plain("0o10"), 8),
        (Plain("1h"), 3600),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1048576, 1048576),
        ("1048576", 1048576),
        ("512m", 512 * 1024**2),
        ("2GiB", 2 * 1024**3),
        ("1.5 kb", 1536),
        ("1T", 1024**4),
        ("9007199254740993", 9007199254740993),
        ("0" * 31 + "7", 7),
        (Plain("0x100"), 256),
        (Plain("010"), 10),
    ],
)
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value", [*NEVER, "10x", "m10", "1h 30m", "30m1h", "--1", "1_0s", "\u0661s", Plain("1:30")], ids=ascii
)
def test_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write"):
        parse_duration(value)


@pytest.mark.parametrize(
    "value", [*NEVER, "m", "1.5.2m", "1 m b", "-1", 1.5, "1e3", "1_0k", "\u0661k", "1\u212a"], ids=ascii
)
def test_no_sizes(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size; write"):
        parse_size(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((Duration, value) for value in (0, -1, "-1", "nan", "inf", math.inf, 10**400, "9" * 400, "0s")),
        *((NonNegativeDuration, value) for value in (-0.1, "nan", 10**400)),
        *((ByteSize, value) for value in (0, -1, "0", 2**63, 10**400, "9" * 400, "9999999999t")),
    ],
)
def test_out_of_range(kind: Any, value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


def test_none_at_all_is_a_grace_period() -> None:
    assert TypeAdapter(NonNegativeDuration).validate_python("0s") == 0


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5), ("5", 5), (" -5 ", -5), ("+5", 5), ("010", 10), (5.0, 5), (Plain("0x1F"), 31), (Plain("010"), 10)],
)
def test_whole_numbers(value: object, number: int) -> None:
    assert parse_integer(value) == parse_number(value) == number
    assert type(parse_integer(value)) is int


@pytest.mark.parametrize(
    "value", [*NEVER, 1.5, "1.5", math.inf, math.nan, 10**32, -(10**400), 1e40, Plain("1_0")], ids=ascii
)
def test_no_whole_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="is not a whole number; write"):
        parse_integer(value)


@pytest.mark.parametrize("value", [*NEVER, 10**32, Plain("1:30"), Plain("yes"), Plain("true")], ids=ascii)
def test_no_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="is not a number; write"):
        parse_number(value)


@pytest.mark.parametrize("kind", [Integer, Number, Duration, ByteSize])
@pytest.mark.parametrize(
    "value", ["9" * 1_000_000, "1" + " " * 1_000_000, 10**300_000], ids=["digits", "space", "number"]
)
def test_what_is_long_is_not_converted(kind: Any, value: object) -> None:
    begun = time.thread_time()
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)
    assert time.thread_time() - begun < 0.1


@pytest.mark.parametrize("value", [".inf", "-.Inf", ".NAN", "1e400"])
def test_what_is_no_finite_number(value: str) -> None:
    for kind in (Number, Duration, Integer):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(Plain(value))
