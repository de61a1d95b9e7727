"""Text within a limit of bytes."""

from collections.abc import Sequence

from ci_client.errors import EX_USAGE, ClientError

ANSWER_BYTES = 4 * 1024
"""What an answer takes unless more is asked for."""
LARGEST_ANSWER_BYTES = 32 * 1024


def clipped(text: str, most: int) -> str:
    """Return one line of text with at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def fitted(lines: Sequence[str], limit: int) -> int:
    """Return how many of the lines, from the first one, fit into `limit` bytes of UTF-8 with their line ends."""
    for number, line in enumerate(lines):
        limit -= len(line.encode()) + 1
        if limit < 0:
            return number
    return len(lines)


def size(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text.encode())


class NotAnswerable(ClientError):
    """What was asked for is not there, or cannot be given in this form. The message says what can."""

    exit_status = EX_USAGE
