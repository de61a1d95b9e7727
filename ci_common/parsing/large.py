"""JSON that takes milliseconds to read or write, which threads do so that the event loop goes on."""

from typing import Any

LARGE_BYTES = 64 * 1024
_NODE_BYTES = 32
"""What any value counts beside its text."""


def is_large(value: Any) -> bool:
    """Return whether the JSON of a value has more than about 64 KiB, after looking at no more than that."""
    room = LARGE_BYTES
    unseen = [value]
    while unseen and room > 0:
        value = unseen.pop()
        if isinstance(value, str):
            room -= len(value)
        elif isinstance(value, dict):
            unseen += value.values()
            room -= sum(map(len, value))
        elif isinstance(value, list | tuple):
            unseen += value
        room -= _NODE_BYTES
    return room <= 0
