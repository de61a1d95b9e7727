"""The program that compares two trees, apart from the controller: it costs processor time, and reads what jobs wrote.

    python -I -S program.py <package root> archives
    python -I -S program.py <package root> directories <one> <its place> <other> <its place>

`archives` reads both from standard input, in pieces that each follow their length in four bytes; a piece of length 0
ends an archive. It writes a JSON object to standard output, which `Comparison` describes, or ends with another status
than 0 and has said why on standard error.
"""

import io
import json
import os
import resource
import sys
from typing import Any, BinaryIO

FIRST_ONES = 50
"""How many differences are named."""
_MEMORY = 2 * 1024**3
_SECONDS = 1800
_NICENESS = 10
_HEAD = 4
_END = 1024


class Pieces(io.RawIOBase):
    """One of the archives on a stream, as a file."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._left = 0
        self._ended = False
        self._last = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left and not self._ended:
            self._left = int.from_bytes(self._exactly(_HEAD), "big")
            self._ended = not self._left
        if self._ended:
            return 0
        data = self._exactly(min(self._left, len(buffer)))
        self._left -= len(data)
        buffer[: len(data)] = data
        self._last = (self._last + data)[-_END:]
        return len(data)

    def finish(self) -> None:
        """Read what is left. Raises EOFError if the archive does not end as one does, with blocks of zeros."""
        while self.readinto(bytearray(1 << 16)):
            pass
        if self._last != bytes(_END):
            raise EOFError("the archive ends too early")

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError("the archive ends too early")
        return data


def compared(one: Any, other: Any) -> dict[str, Any]:
    """Return what differs between two trees."""
    from ci_controller.runtime.comparing.noise import kind_of

    ignored: dict[str, int] = {}
    found: list[dict[str, str]] = []
    different = 0
    for path in sorted(one.keys() | other.keys()):
        how = _difference(one.get(path), other.get(path))
        if how is None:
            continue
        if (kind := kind_of(path, one, other)) is not None:
            ignored[kind] = ignored.get(kind, 0) + 1
            continue
        different += 1
        if len(found) < FIRST_ONES:
            found.append({"path": path.encode(errors="replace").decode(), "how": how})
    return {"files": len(one), "different": different, "first": found, "ignored": ignored}


def _difference(one: Any, other: Any) -> str | None:
    if one is None or other is None:
        return "added" if one is None else "missing"
    for how in ("kind", "content", "mode", "owner"):
        if getattr(one, how) != getattr(other, how):
            return how
    return None


def main(root: str, form: str, *arguments: str) -> None:
    """Compare two trees. Raises OSError, EOFError and what a damaged archive raises."""
    sys.path.append(root)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    from ci_controller.runtime.comparing.trees import tree_of_archive, tree_of_directory

    if form == "archives":
        stream = sys.stdin.buffer
        trees = []
        for _ in range(2):
            pieces = Pieces(stream)
            trees.append(tree_of_archive(io.BufferedReader(pieces, 1 << 20)))
            pieces.finish()
    else:
        one, its_place, other, other_place = arguments
        trees = [tree_of_directory(one, os.fsencode(its_place)), tree_of_directory(other, os.fsencode(other_place))]
    print(json.dumps(compared(*trees)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MemoryError:
        sys.exit("the trees have too many files to be compared")
    except Exception as exc:
        sys.exit(f"{type(exc).__name__}: {exc}")
