"""Tokens are found wherever they stand in a text, and long texts have none that are made up by how they are read."""

import pytest

from ci_common.secrets.tokens import token_in

PART = 64 * 1024
GITHUB = "ghp_" + "aB3" * 12


@pytest.mark.parametrize("before", [0, PART - 50, PART - 20, PART - 1, PART, PART + 1020, PART + 1024, 3 * PART - 3])
def test_a_token_is_found_wherever_it_stands(before: int) -> None:
    assert token_in(" " * before + GITHUB + " " * PART) == "a token of GitHub"


@pytest.mark.parametrize("shift", range(-8, 9))
@pytest.mark.parametrize("edge", [PART, PART + 1024])
def test_a_long_word_is_no_token_because_a_part_ends_in_it(edge: int, shift: int) -> None:
    word = "x" * 30 + "npm_" + "a1" * 40  # A token of npm has 36 characters, and no more.
    begin = edge - 70 + shift
    assert token_in(" " * begin + word + " " * PART) is None
    begin = edge - 36 - 4 + shift
    assert token_in(" " * begin + "npm_" + "a1" * 40 + " " * PART) is None


def test_a_text_without_any() -> None:
    assert token_in("") is None
