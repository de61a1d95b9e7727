"""What is large enough for a thread."""

from typing import Any

import pytest

from ci_common.parsing.large import is_large


@pytest.mark.parametrize(
    ("value", "large"),
    [
        ({"command": "x" * 1000, "env": {"A": "b"}}, False),
        ({"command": "x" * 100_000}, True),
        ({"x" * 100_000: 1}, True),
        ([1] * 100_000, True),
        ([{"a": [["b"] * 10]}] * 300, True),
        (None, False),
    ],
)
def test_what_is_large(value: Any, large: bool) -> None:
    assert is_large(value) is large
