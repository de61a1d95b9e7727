"""Text of users as words of sh."""


def quote(text: str | bytes) -> bytes:
    """Return `text` as one word of sh that stands for exactly these bytes. Raises ValueError for a NUL byte.

    Text is UTF-8, whatever the controller's locale; bytes that are not stand in it as `surrogateescape` has them.
    """
    raw = text if isinstance(text, bytes) else encode(text)
    if b"\0" in raw:
        raise ValueError("a NUL byte cannot be part of a command, a variable or a path")
    return b"'" + raw.replace(b"'", b"'\\''") + b"'"


def encode(text: str) -> bytes:
    """Return the bytes that `text` stands for, as `quote` says it."""
    return text.encode("utf-8", "surrogateescape")
