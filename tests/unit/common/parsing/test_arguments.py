"""What Linux hands to a program, tried on this one."""

import subprocess

import pytest

from ci_common.parsing.values import LONGEST_ARGUMENT, MOST_BYTES, check_argument, check_variable, size_of


def starts(*words: str, **variables: str) -> bool:
    try:
        subprocess.run(["/bin/true", *words], env=variables, check=True)
    except OSError:
        return False
    return True


def test_the_longest_argument_is_the_longest_that_linux_takes() -> None:
    check_argument("x" * LONGEST_ARGUMENT)
    assert starts("x" * LONGEST_ARGUMENT)
    with pytest.raises(ValueError, match=f"{LONGEST_ARGUMENT + 1} bytes, .* at most {LONGEST_ARGUMENT}"):
        check_argument("x" * (LONGEST_ARGUMENT + 1))
    assert not starts("x" * (LONGEST_ARGUMENT + 1))


def test_a_variable_counts_with_its_name() -> None:
    value = "x" * (LONGEST_ARGUMENT - len("NAME="))
    check_variable("NAME", value)
    assert starts(NAME=value)
    with pytest.raises(ValueError, match="the variable with its name has"):
        check_variable("NAME", value + "x")
    assert not starts(NAME=value + "x")


def test_bytes_are_counted_not_characters() -> None:
    check_argument("é" * (LONGEST_ARGUMENT // 2))
    with pytest.raises(ValueError, match="bytes"):
        check_argument("é" * (LONGEST_ARGUMENT // 2 + 1))


def test_what_is_taken_in_all_can_be_started() -> None:
    few = {f"V{number}": "x" * 100_000 for number in range(10)}
    assert size_of([], few) <= MOST_BYTES
    assert starts(**few)
    many = ["x"] * (MOST_BYTES // size_of(["x"], {}))
    assert size_of(many, {}) <= MOST_BYTES
    assert starts(*many)
