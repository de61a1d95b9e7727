"""Text as the inside of a JSON string, by searches that run at the speed of memory."""

import json

_ENDS_OF_LINES = ("\x85", "\u2028", "\u2029")
"""Characters that JSON leaves alone, and that some readers of lines take for the end of one."""
_FEW = 4
"""Replacing costs by the character that is replaced, the encoder by the byte: it is quicker where one in so many is."""
_SAMPLE = 1024
"""So many bytes tell which it will be."""
_SHORT = 256
"""Up to so many bytes, the encoder is done before all characters have been searched for."""


def _escape_of(character: str) -> tuple[bytes, bytes]:
    return character.encode(), json.dumps(character)[1:-1].encode("ascii")


_OF_ASCII = tuple(map(_escape_of, ["\\", '"', *map(chr, range(0x20))]))
"""The backslash is first: the escapes of all others hold one."""
_OF_OTHERS = tuple(map(_escape_of, _ENDS_OF_LINES))


def json_text(data: bytes) -> bytes:
    """Return valid UTF-8 as it stands between the quotes of a JSON string: one line, whoever splits it into lines."""
    if len(data) <= _SHORT or data.count(b"\n", 0, _SAMPLE) * _FEW > min(len(data), _SAMPLE):
        return json.dumps(data.decode())[1:-1].encode("ascii")
    for raw, escaped in _OF_ASCII if data.isascii() else _OF_ASCII + _OF_OTHERS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data
