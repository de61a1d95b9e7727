"""What may reach a terminal: names and messages with control characters made visible, and logs with colours alone.

A terminal obeys what it is sent: escape sequences set its title and the clipboard, move the cursor over what was
written before, and hide text. Names and messages never need any (`visible`). Of a job's log, a terminal gets text and
colours (`TerminalFilter`).
"""

import codecs
import json
import re
import unicodedata

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and formatting characters, among them those that turn the direction of text, halves of pairs, line ends."""
_JOINERS = "\u200c\u200d"
"""Formatting characters that emoji and several scripts cannot do without. They change nothing but their neighbours."""
_FIRST_BYTE_AS_SURROGATE = 0xDC00


def visible(text: str) -> str:
    """Return `text` with every character written out that a terminal would obey or that has no form: `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN or char in _JOINERS:
        return char
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # A byte that is no text, as Python keeps it in names.
        return f"\\x{code - _FIRST_BYTE_AS_SURROGATE:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible_json(text: str) -> str:
    """Return a JSON document that means the same, with what `visible` writes out written as JSON does."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char == "\n" or _visible(char) == char else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]


_KEPT = "\n\r\t"
_PLAIN = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+")
_COLOURS = re.compile(r"[0-9;:]*")
_STRING_OPENERS = frozenset("]PX^_k\x90\x98\x9d\x9e\x9f")
"""What begins a string of characters that a terminal keeps to itself: titles, the clipboard, graphics."""
_CSI_LONGEST = 100
_ESC, _CSI, _ST, _BEL = "\x1b", "\x9b", "\x9c", "\x07"
_CANCEL = "\x18\x1a"
RESET = b"\x1b[0m"


class TerminalFilter:
    """Lets text, line ends, tabs, returns to the line's start and colours (SGR) through, and nothing else.

    Takes a log in pieces, wherever they are cut. Bytes that are not UTF-8 become U+FFFD. What a sequence that does not
    end would hide comes to light at the end of its line.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = self._text
        self._sequence = ""
        self.is_coloured = False
        """Whether colours are on after what was let through so far."""

    def feed(self, data: bytes, *, final: bool = False) -> bytes:
        """Return what of `data`, and of what was kept back before, may be shown."""
        text = self._decoder.decode(data, final)
        shown: list[str] = []
        place = 0
        while place < len(text):
            if self._state == self._text and (plain := _PLAIN.match(text, place)):
                shown.append(plain[0])
                place = plain.end()
            else:
                shown.append(self._state(text[place]))
                place += 1
        return "".join(shown).encode("utf-8", "replace")

    def reset(self) -> bytes:
        """Return what ends colours that are on."""
        ends, self.is_coloured = (RESET if self.is_coloured else b""), False
        return ends

    # Each state takes a character, names the next state, and returns what is shown.

    def _text(self, char: str) -> str:
        if char == _ESC:
            self._state = self._escape
        elif char == _CSI:
            self._state, self._sequence = self._csi, ""
        elif char in _STRING_OPENERS and char >= "\x80":
            self._state = self._string
        elif char >= "\xa0" or " " <= char <= "~" or char in _KEPT:
            return char
        return ""

    def _escape(self, char: str) -> str:
        if char == "[":
            self._state, self._sequence = self._csi, ""
        elif char in _STRING_OPENERS:
            self._state = self._string
        elif not " " <= char <= "/":  # Those stand between ESC and what ends the sequence.
            return self._again(char) if char < " " or char > "~" else self._end()
        return ""

    def _csi(self, char: str) -> str:
        if " " <= char <= "?":
            self._sequence = (self._sequence + char)[:_CSI_LONGEST]
            return ""
        if not "@" <= char <= "~":
            return self._again(char)
        self._end()
        if char != "m" or len(self._sequence) == _CSI_LONGEST or not _COLOURS.fullmatch(self._sequence):
            return ""
        self.is_coloured = self._sequence.strip("0;") != ""
        return f"{_ESC}[{self._sequence}m"

    def _string(self, char: str) -> str:
        if char in (_BEL, _ST) or char in _CANCEL:
            return self._end()
        # `ESC \` ends it, too, and so does any other sequence.
        return self._again(char) if char in (_ESC, "\n") else ""

    def _end(self) -> str:
        self._state = self._text
        return ""

    def _again(self, char: str) -> str:
        self._state = self._text
        return self._text(char)
