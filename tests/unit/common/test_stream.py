"""Places in a job's stream as text, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.wire.stream import BEGINNING, Cursor

cursors = st.builds(Cursor, st.integers(1, 100), st.integers(0, 10**18 - 1))


@given(cursors)
def test_there_and_back(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


def test_the_first_attempts_are_digits() -> None:
    assert [str(cursor) for cursor in (BEGINNING, Cursor(1, 17), Cursor(2, 0), Cursor(12, 17))] == [
        "0", "17", "2-0", "12-17",
    ]  # fmt: skip


def test_they_are_ordered_as_the_stream_is() -> None:
    assert sorted([Cursor(2, 3), Cursor(1, 9), Cursor(10, 0), BEGINNING]) == [
        BEGINNING, Cursor(1, 9), Cursor(2, 3), Cursor(10, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1-", "0-1", "01-1", "1-2-3", "1.5", " 1", "1\n", "٣", "9" * 19, "1000-1"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not the id of an event"):
        Cursor.parse(text)
