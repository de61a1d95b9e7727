"""Text that is safe on a terminal: names and messages with control characters written out, and logs with colours only.

A terminal obeys escape sequences: they set its title and the clipboard, move the cursor over earlier output, and hide
text. Names and messages need none (`visible`). Of a job's log, a terminal gets text and colours (`TerminalFilter`).
"""

import codecs
import json
import re
import unicodedata

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and formatting characters, among them text direction overrides, lone surrogates and line separators."""
_JOINERS = "\u200c\u200d"
"""Formatting characters that emoji and several scripts need. They affect only their neighbours."""
_FIRST_BYTE_AS_SURROGATE = 0xDC00


def visible(text: str) -> str:
    """Return `text` with each control or invisible character written out, as in `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN or char in _JOINERS:
        return char
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # A byte that is not valid UTF-8, as Python represents it in file names.
        return f"\\x{code - _FIRST_BYTE_AS_SURROGATE:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible_json(text: str) -> str:
    """Return an equal JSON document in which the characters that `visible` writes out are JSON escapes."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char == "\n" or _visible(char) == char else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]


_KEPT = "\n\r\t"
_PLAIN = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+")
_COLOURS = re.compile(r"[0-9;:]*")
_STRING_OPENERS = frozenset("]PX^_k\x90\x98\x9d\x9e\x9f")
"""The characters that begin a string that the terminal does not show: titles, the clipboard, graphics."""
_CSI_LONGEST = 100
_ESC, _CSI, _ST, _BEL = "\x1b", "\x9b", "\x9c", "\x07"
_CANCEL = "\x18\x1a"
RESET = b"\x1b[0m"


class TerminalFilter:
    """Passes text, line ends, tabs, carriage returns and colours (SGR), and removes everything else.

    The log may be cut into pieces anywhere. Bytes that are not UTF-8 become U+FFFD. An unterminated sequence hides text
    only up to the end of its line.
    """

    def __init__(self, *, colours: bool = True) -> None:
        """Without `colours`, they are removed, too."""
        self._colours = colours
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = self._text
        self._sequence = ""
        self.is_coloured = False
        """Whether colours are on after the text passed so far."""

    def feed(self, data: bytes, *, final: bool = False) -> bytes:
        """Return the part of `data`, and of text that was held back before, that may be shown."""
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
        """Return the sequence that ends the colours, or nothing if none are on."""
        ends, self.is_coloured = (RESET if self.is_coloured else b""), False
        return ends

    # Each state takes a character, sets the next state, and returns the text to show.

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
        elif not " " <= char <= "/":  # Intermediate characters stand between ESC and the final one.
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
        if not self._colours:
            return ""
        self.is_coloured = self._sequence.strip("0;") != ""
        return f"{_ESC}[{self._sequence}m"

    def _string(self, char: str) -> str:
        if char in (_BEL, _ST) or char in _CANCEL:
            return self._end()
        # `ESC \` ends the string, and so does any other sequence.
        return self._again(char) if char in (_ESC, "\n") else ""

    def _end(self) -> str:
        self._state = self._text
        return ""

    def _again(self, char: str) -> str:
        self._state = self._text
        return self._text(char)
