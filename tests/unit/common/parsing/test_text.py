"""What text may be, and how messages show it."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.parsing.text import check_line, check_text, printable, shown

CONTROL_CHARACTERS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
HALVES = ["\ud800", "\udbff", "\udc00", "\udcff", "\udfff"]
LONG = "é" * 10_000
"""From a few thousand characters on text is checked in another way."""


@pytest.mark.parametrize("around", ["", LONG], ids=["short", "long"])
@pytest.mark.parametrize("character", [*CONTROL_CHARACTERS, *HALVES], ids=ascii)
def test_characters_that_are_refused(character: str, around: str) -> None:
    text = f"{around}a{character}b{around}"
    with pytest.raises(ValueError, match=rf"at character {len(around) + 2} is not allowed"):
        check_line(text)
    if character in "\t\n":
        assert check_text(text) == text
        return
    with pytest.raises(ValueError, match=rf"at character {len(around) + 2} is not allowed"):
        check_text(text)


@given(st.text(st.characters(), max_size=50), st.booleans())
@settings(deadline=None)
def test_all_other_text_is_taken(text: str, long: bool) -> None:
    text += LONG if long else ""
    wrong = [c for c in text if unicodedata.category(c) in ("Cc", "Cs")]
    if not wrong:
        assert check_line(text) == text
    if set(wrong) <= set("\t\n"):
        assert check_text(text) == text
    else:
        with pytest.raises(ValueError, match="is not allowed"):
            check_text(text)


def test_the_character_is_named() -> None:
    for character, name in (("\0", "a NUL byte"), ("\x1b", r"U\+001B"), ("\ud800", r"surrogate pair \(U\+D800\)")):
        with pytest.raises(ValueError, match=name):
            check_text(character)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "'x'"),
        ("x" * 1_000_000, f"'{'x' * 100}'…"),
        ("\x1b", r"'\x1b'"),
        (5, "5"),
        (True, "true"),
        (None, "null"),
        (10**5000, "a number with too many digits"),
        ([1] * 1_000_000, "a list"),
        ({"a": 1}, "an object"),
        (object(), "a object"),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else "",
)
def test_values_in_messages_are_short(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_names_in_messages_can_be_printed() -> None:
    assert printable("grün") == "grün"
    assert printable("a\x1b\n\ud800") == r"a\x1b\n\ud800"
    assert printable("x" * 101) == "x" * 100 + "…"
