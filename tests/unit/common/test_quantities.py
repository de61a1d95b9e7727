"""Durations and sizes."""

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ci_common.quantities import ByteSize, Duration, NonNegativeDuration, parse_duration, parse_size


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
    ],
)
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", " ", "10x", "m10", "1h 30m", "30m1h", None, True, [1], "--1"])
def test_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["", "m", "1.5.2m", "1 m b", "-1", None, True, 1.5, "1e3"])
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
