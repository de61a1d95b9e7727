"""Text within a JSON string."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_server.streaming.framing import json_text

NASTY = "".join(map(chr, range(0x20))) + '"\\/\x7f\x85\u2028\u2029ä€😀\ufeff\ufffd'


@pytest.mark.parametrize("text", ["", NASTY, "\n" * 300, "plain\n" * 300, "\\n", '\\"'])
def test_it_is_one_line_that_stands_for_the_text(text: str) -> None:
    check(text)


@given(st.text(st.sampled_from(NASTY + "abc\n\n\n")))
def test_it_stands_for_any_text(text: str) -> None:
    check(text)


def check(text: str) -> None:
    escaped = json_text(text.encode())
    assert json.loads(b'"%s"' % escaped) == text
    assert len(escaped.decode().splitlines()) <= 1
