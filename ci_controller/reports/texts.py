"""Texts of reports, of which only a bounded part is kept."""

import re


class CutText:
    """The beginning and the end of a text that arrives in pieces. Uses little more memory than it keeps."""

    def __init__(self, head: int, tail: int) -> None:
        """Keep at most `head` characters of the beginning and `tail` of the end."""
        self._head_room = head
        self._tail_room = tail
        self._head = ""
        self._tail: list[str] = []
        self._in_tail = 0
        self._left_out = 0

    def add(self, text: str) -> None:
        if len(self._head) < self._head_room:
            taken = self._head_room - len(self._head)
            self._head += text[:taken]
            text = text[taken:]
        if not text:
            return
        self._tail.append(text)
        self._in_tail += len(text)
        if self._in_tail > 2 * self._tail_room + 4096:
            self._shorten()

    def _shorten(self) -> None:
        whole = "".join(self._tail)
        if len(whole) > self._tail_room:
            self._left_out += len(whole) - self._tail_room
            whole = whole[len(whole) - self._tail_room :]
        self._tail, self._in_tail = [whole], len(whole)

    def text(self) -> str:
        """Return what is kept, with a line in the place of what is not."""
        self._shorten()
        tail = self._tail[0]
        if not self._left_out:
            return self._head + tail
        return f"{self._head}\n[… {self._left_out} characters left out …]\n{tail}"


def cut(text: str, longest: int) -> str:
    """Return the text, or its beginning with `…` if it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def storable(text: str) -> str:
    """Return the text without what a database cannot keep: NUL, and halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


_OF_GO = re.compile(r"\s*(=== [A-Z]+ |--- [A-Z]+: )")
_PLACE_IN_GO = re.compile(r"\s+\S+\.go:\d+: ")
_MORE_INDENT = " " * 8
"""What stands before further lines of a message."""


def go_message(output: str) -> str:
    """Return what a test of Go said of itself: its output without the frame of `go test -v` and without a stack trace.

    Of a panic that was passed on only the first is told.
    """
    lines: list[str] = []
    has_panicked = False
    for line in output.splitlines():
        if line.startswith("goroutine "):
            break
        if line.lstrip().startswith("panic: "):
            if not has_panicked:
                lines.append(line.strip().removesuffix(" [recovered]"))
            has_panicked = True
        elif not _OF_GO.match(line):
            lines.append(_PLACE_IN_GO.sub("", line, count=1).removeprefix(_MORE_INDENT))
    return "\n".join(lines).strip()
