"""What reaches a terminal: names with nothing that it obeys, and of logs text and colours alone."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_client.escapes import TerminalFilter, visible, visible_json

pytestmark = pytest.mark.slow

COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")
OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcödé 🥊 中文", "plain, ünïcödé 🥊 中文"),
        ("x\x1b]52;c;aGk=\a\rci: all tests passed", r"x\x1b]52;c;aGk=\x07\rci: all tests passed"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("\x00\x7f\x85\x9b31m", r"\x00\x7f\x85\x9b31m"),
        ("\u202egnp.exe\u2066\u200f\u061c", r"\u202egnp.exe\u2066\u200f\u061c"),
        ("\u2028\ufeff\xad\U000e0041", r"\u2028\ufeff\xad\U000e0041"),
        ("👩\u200d💻 \u0645\u06cc\u200c", "👩\u200d💻 \u0645\u06cc\u200c"),
        ("caf\udce9 \ud800", r"caf\xe9 \ud800"),
    ],
)
def test_names(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_no_name_has_anything_left_to_obey(text: str) -> None:
    shown = visible(text)
    assert not [char for char in shown if unicodedata.category(char) in OBEYED and char not in "\u200c\u200d"]
    assert visible(shown) == shown
    shown.encode()


@given(st.dictionaries(st.text(), st.text(st.characters(exclude_categories=[]))))
def test_json_means_the_same(value: dict[str, str]) -> None:
    shown = visible_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(shown) == value
    assert not [char for char in shown if char != "\n" and visible(char) != char]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (b"plain\r\n\ttext \xc3\xbc", b"plain\r\n\ttext \xc3\xbc"),
        (
            b"\x1b[1;38;5;9mred\x1b[0m \x1b[mx \x1b[38:2::1:2:3my",
            b"\x1b[1;38;5;9mred\x1b[0m \x1b[mx \x1b[38:2::1:2:3my",
        ),
        (b"10%\r20%\r", b"10%\r20%\r"),
        (b"a\x1b]52;c;aGk=\x07b\x1b]0;title\x1b\\c", b"abc"),
        (b"a\x1b[2J\x1b[H\x1b[1;1H\x1b[3A\x1b[K\x1b[?1049h\x1b[6nb", b"ab"),
        (b"a\x1b[>4;2m\x1b[?1m\x1b[1 m\x1b[=1mb", b"ab"),
        (b"a\x1bPq#0\x1b\\b\x1b_apc\x1b\\c\x1b^pm\x1b\\d\x1bXsos\x1b\\e\x1bktitle\x1b\\f", b"abcdef"),
        (b"a\x1bc\x1b7\x1b8\x1b(0\x1b#8\x1b=\x1b%Gb", b"ab"),
        ("a\x9b2Jb\x9d52;c;aGk=\x9cc\x90q\x9cd\x85\x8de\x9b1mf".encode(), b"abcde\x1b[1mf"),
        (b"a\x9b2Jb\x9d0;t\x07c", "a\ufffd2Jb\ufffd0;tc".encode()),
        (b"a\xff\xc3b\xe2\x82", "a\ufffd\ufffdb\ufffd".encode()),
        (b"a\x00\x07\x08\x0b\x0c\x0e\x0f\x7fb", b"ab"),
        (b"a\x1b[1\n1mb", b"a\n1mb"),
        (b"a\x1b[" + b"1;" * 200 + b"mb", b"ab"),
        (b"a\x1b]0;never ended\nb", b"a\nb"),
        (b"a\x1b[12", b"a"),
        (b"a\x1b", b"a"),
        (b"a\x1b\x1b[31mb\x1b[3\x1b[1mc\x1b]0;x\x18d", b"a\x1b[31mb\x1b[1mcd"),
    ],
)
def test_logs(log: bytes, shown: bytes) -> None:
    assert TerminalFilter().feed(log, final=True) == shown


PIECES = st.sampled_from(
    [
        *(
            b"\x1b[",
            b"\x1b]",
            b"\x1bP",
            b"\x1b",
            b"[",
            b"]52;c;",
            b"\x07",
            b"\x1b\\",
            b"31",
            b";",
            b"m",
            b"H",
            b"?",
            b"\n",
        ),
        *(
            "\x9b".encode(),
            "\x9d".encode(),
            "\x9c".encode(),
            b"\x9b",
            b"\xff",
            "é🥊".encode(),
            b"\r",
            b"text",
            b" ",
            b"\x18",
        ),
    ]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=30).map(b"".join), st.data())
def test_it_does_not_matter_where_a_log_is_cut(log: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=10)))
    pieces = [log[start:end] for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True)]
    in_pieces, whole = TerminalFilter(), TerminalFilter()
    shown = b"".join([*map(in_pieces.feed, pieces), in_pieces.feed(b"", final=True)])
    assert shown == whole.feed(log, final=True)
    text = COLOUR.sub(b"", shown).decode()
    assert not [char for char in text if unicodedata.category(char) == "Cc" and char not in "\n\r\t"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_text_is_shown_as_it_is(text: str) -> None:
    assert TerminalFilter().feed(text.encode(), final=True) == text.encode()


def test_colours_that_are_on_are_ended() -> None:
    shown = TerminalFilter()
    shown.feed(b"\x1b[8mhidden")
    assert shown.reset() == b"\x1b[0m"
    assert shown.reset() == b""
    shown.feed(b"\x1b[31mred\x1b[0;0m")
    assert shown.reset() == b""
