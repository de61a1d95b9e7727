"""What a program can be given: the arguments and variables that Linux takes when it starts one (execve(2)).

Beyond that a program does not start, which would look like the job's own failure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

LONGEST_ARGUMENT: Final = 128 * 1024 - 1
"""Bytes of one argument, or of one variable with its name and `=`: MAX_ARG_STRLEN without the NUL byte behind it."""
MOST_BYTES: Final = 1024**2
"""Bytes of all arguments and variables that a job brings. Linux takes a quarter of the stack's limit, by default 2 MiB,
and some of that is for what the image and the runtime add."""
_POINTER_BYTES: Final = 8


def check_argument(word: str) -> None:
    """Raise ValueError where `word` is too long for a program's argument."""
    _check(len(word.encode()), "it")


def check_variable(name: str, value: str) -> None:
    """Raise ValueError where a variable is too long for a program's environment."""
    _check(len(name) + 1 + len(value.encode()), "the variable with its name")


def size_of(arguments: Iterable[str], variables: Mapping[str, str]) -> int:
    """Return how many bytes Linux needs to hand these over."""
    return sum(len(word.encode()) + 1 + _POINTER_BYTES for word in arguments) + sum(
        len(name) + len(value.encode()) + 2 + _POINTER_BYTES for name, value in variables.items()
    )


def _check(size: int, what: str) -> None:
    if size > LONGEST_ARGUMENT:
        raise ValueError(
            f"{what} has {size} bytes, and Linux hands a program at most {LONGEST_ARGUMENT} in one; "
            "put it into a file of the project"
        )
