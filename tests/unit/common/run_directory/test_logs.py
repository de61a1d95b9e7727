"""The log as events, and when which byte was there."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_common.run_directory.output import LogTimes, cut_piece
from tests.helpers.jobs import NOON

awkward = st.lists(
    st.sampled_from([b"a", b"\n", b"\0", "ü".encode(), "€".encode(), "😀".encode(), "\ufffd".encode(), b"\xff", b"\xe2",
                     b"\xf0\x9f", b"\xed\xa0\x80", b"\x80"])
    | st.binary(max_size=4)
).map(b"".join)  # fmt: skip


@given(awkward, st.lists(st.integers(1, 9), max_size=50))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_reading_gives_the_same_text_and_the_exact_bytes(log: bytes, sizes: list[int]) -> None:
    """A reader that reads in steps of any size, starting each at the end of the last piece, has what one look has."""
    position, text, exact = 0, "", b""
    reach = iter(sizes)
    while position < len(log):
        end = position + next(reach, len(log))
        seen = log[position:end]
        final = end >= len(log)
        piece = cut_piece(seen, final=final)
        if piece is None:
            assert not final
            assert len(seen) < 4
            whole = cut_piece(log[position : position + 4], final=position + 4 >= len(log))
            assert whole is not None
            piece = whole
        position += piece.size
        text += piece.text
        exact += piece.text.encode() if piece.exact is None else base64.b64decode(piece.exact)
    assert text == log.decode(errors="replace")
    assert exact == log
    assert position == len(log)


def test_nothing_is_no_piece() -> None:
    assert cut_piece(b"", final=True) is None
    assert cut_piece(b"", final=False) is None


def test_an_open_sequence_waits_for_its_end() -> None:
    assert cut_piece(b"\xe2\x82", final=False) is None
    piece = cut_piece(b"a\n\xe2\x82", final=False)
    assert piece is not None
    assert (piece.text, piece.size, piece.exact) == ("a\n", 2, None)


def test_a_real_replacement_character_is_exact() -> None:
    piece = cut_piece("a\ufffd".encode(), final=True)
    assert piece is not None
    assert piece.exact is None


def test_exact_bytes_come_where_text_cannot_tell() -> None:
    piece = cut_piece(b"caf\xe9\n", final=False)
    assert piece is not None
    assert piece.text == "caf\ufffd\n"
    assert base64.b64decode(piece.exact or "") == b"caf\xe9\n"


class TestLogTimes:
    @pytest.fixture
    def times(self, tmp_path: Path) -> LogTimes:
        return LogTimes(tmp_path / "1.times")

    def test_without_an_index(self, times: LogTimes) -> None:
        assert times.last_length() == 0
        assert times.time_of(0) is None
        assert times.offset_at(NOON) == 0

    def test_searches(self, times: LogTimes) -> None:
        for second, length in enumerate([10, 10, 25, 26]):
            times.append(NOON + timedelta(seconds=second), length)
        assert times.last_length() == 26
        expected = {0: 0, 9: 0, 10: 2, 24: 2, 25: 3}
        for offset, second in expected.items():
            assert times.time_of(offset) == NOON + timedelta(seconds=second), offset
        assert times.time_of(26) is None
        for second, offset in {-1.0: 0, 0.5: 10, 1.5: 10, 2.5: 25, 9.0: 26}.items():
            assert times.offset_at(NOON + timedelta(seconds=second)) == offset, second

    def test_tells_the_spans_of_a_part(self, times: LogTimes) -> None:
        assert times.spans(0, 100, 10) == []
        for second, length in enumerate([10, 10, 25, 26, 40]):
            times.append(NOON + timedelta(seconds=second), length)
        seconds = {
            (0, 100, 10): [(0, 10, 0), (10, 25, 2), (25, 26, 3), (26, 40, 4)],
            (9, 11, 10): [(0, 10, 0), (10, 25, 2)],
            (10, 25, 10): [(10, 25, 2)],
            (0, 100, 2): [(0, 10, 0), (10, 25, 2)],
            (40, 100, 10): [],
            (5, 5, 10): [(0, 10, 0)],
        }
        for (start, end, most), expected in seconds.items():
            found = times.spans(start, end, most)
            spans = [(span.start, span.end, (span.instant - NOON).total_seconds()) for span in found]
            assert spans == expected, (start, end, most)

    def test_since_an_instant_holds_what_came_at_that_instant(self, times: LogTimes) -> None:
        times.append(NOON, 10)
        times.append(NOON + timedelta(seconds=1), 20)
        assert times.offset_at(NOON + timedelta(seconds=1)) == 10

    def test_a_clock_that_is_set_back_does_no_harm(self, times: LogTimes) -> None:
        times.append(NOON, 10)
        times.append(NOON - timedelta(hours=1), 20)
        times.append(NOON + timedelta(seconds=1), 30)
        assert times.time_of(15) == NOON
        assert times.offset_at(NOON + timedelta(seconds=0.5)) == 20

    def test_an_entry_that_was_cut_short_is_passed_over(self, times: LogTimes, tmp_path: Path) -> None:
        times.append(NOON, 10)
        with (tmp_path / "1.times").open("ab") as file:
            file.write(b"torn")
        assert times.last_length() == 10
        times.append(NOON + timedelta(seconds=1), 20)
        assert times.last_length() == 20
        assert times.time_of(5) == NOON
