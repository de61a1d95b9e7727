"""The files of a project that its setup reads: finding them, their digest, and a copy of them alone."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ci_common.errors import FieldError, InputMissing, InvalidRequest, RequestError
from ci_common.parsing.text import shown
from ci_common.run_directory.untrusted_files import read_capped

MAX_FILES = 1000
MAX_BYTES = 64 * 1024**2
"""The most bytes of all inputs together."""


class InputsChanged(Exception):
    """The inputs are not the ones whose digest was taken."""


def find_inputs(directory: Path, patterns: Iterable[str], *, root: Path) -> tuple[str, ...]:
    """Return the files in `directory` that match, as sorted relative paths. Links lead to files below `root` only.

    Raises InputMissing if a pattern matches no file, InvalidRequest if all together match too many.
    """
    top, found = Path(os.path.realpath(root)), set[str]()
    for number, pattern in enumerate(patterns):
        matches = 0
        for path in directory.glob(f"{pattern}/*" if pattern.endswith("**") else pattern):
            if path.is_file() and Path(os.path.realpath(path)).is_relative_to(top):
                found.add(path.relative_to(directory).as_posix())
                matches += 1
            if len(found) > MAX_FILES:
                raise _invalid(f"setup.inputs.{number}", f"there are more than {MAX_FILES} inputs")
        if not matches:
            raise _invalid(
                f"setup.inputs.{number}", f"no file of the project matches {shown(pattern)}", kind=InputMissing
            )
    return tuple(sorted(found))


def _invalid(path: str, message: str, kind: type[RequestError] = InvalidRequest) -> RequestError:
    return kind(f"the setup cannot be used: {path}: {message}", FieldError(path, message))


def digest_of(directory: Path, inputs: Iterable[str]) -> str:
    """Return the digest of names, modes and contents. Raises InvalidRequest if they are too large to be read."""
    digest = hashlib.sha256()
    for head, content in _contents(directory, inputs):
        digest.update(head)
        digest.update(content)
    return digest.hexdigest()


def copy_inputs(directory: Path, inputs: Iterable[str], target: Path, digest: str) -> None:
    """Copy the inputs, and nothing else, into the new directory `target`, under the same relative paths.

    Raises InputsChanged, with an incomplete copy, if they do not have this digest; InvalidRequest; OSError.
    """
    taken = hashlib.sha256()
    names = tuple(inputs)
    for name, (head, content) in zip(names, _contents(directory, names), strict=True):
        taken.update(head)
        taken.update(content)
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o755 if head.startswith(b"x") else 0o644
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
    if taken.hexdigest() != digest:
        raise InputsChanged("the inputs of the setup are not those that were submitted")


def _contents(directory: Path, inputs: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield for each input what is to be hashed before its content, and its content."""
    room = MAX_BYTES
    for name in inputs:
        path = Path(os.path.realpath(directory / name))
        content = read_capped(path, room + 1)
        if content is None:
            raise InputsChanged(f"{name} is not a file any more")
        room -= len(content)
        if room < 0:
            raise _invalid("setup.inputs", f"they have more than {MAX_BYTES // 1024**2} MiB together")
        mode = b"x" if path.stat().st_mode & stat.S_IXUSR else b"-"
        yield b"%s%s\0%d\0" % (mode, os.fsencode(name), len(content)), content
