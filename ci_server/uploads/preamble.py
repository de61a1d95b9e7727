"""What may stand before a form's first boundary, and means nothing (RFC 2046, 5.1.1). The parser does not take it."""

from ci_common.errors import InvalidUpload

MOST_BYTES = 64 * 1024


class Preamble:
    """Leaves out what stands before the first line that begins with the boundary."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # As if a line had ended before the form.
        self._left_out = 0
        self.is_over = False

    def leave_out(self, chunk: bytes) -> bytes:
        """Return what of the next chunk belongs to the form. Raises InvalidUpload."""
        if self.is_over:
            return chunk
        text = self._held + chunk
        begin = text.find(self._delimiter)
        self._left_out += len(chunk) if begin < 0 else begin
        if self._left_out > MOST_BYTES:
            raise InvalidUpload(f"no line of the form's first {MOST_BYTES} bytes begins with its boundary")
        if begin < 0:
            self._held = text[1 - len(self._delimiter) :]
            return b""
        self.is_over = True
        self._held = b""
        return text[begin + 2 :]
