"""The mark `<attempt>.stored`: the log of the attempt is in the artifact store, and no longer here, or not for long.

It is written once the store has the log and the database says so, and before the log is removed here. It lies beside
the run directory, where no job in a container can change it. A backup takes it along, and a row that is older than the
files, as after a restore, gets the length and the digest of the log from it.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import read_capped

_MARK: Final = re.compile(rb"(\d{1,18}) ([0-9a-f]{64})\n")
_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class StoredMark:
    """What the mark says of the log."""

    bytes: int
    sha256: str


def write_mark(run: RunDirectory, mark: StoredMark) -> None:
    """Make the mark, whole and on the disk. Raises OSError."""
    draft = run.stored.with_name(f"{run.stored.name}.new")
    with open(draft, "wb") as file:
        file.write(f"{mark.bytes} {mark.sha256}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(run.stored)


def read_mark(path: Path) -> StoredMark | None:
    """Return what the mark at `path` says, or None if there is none. Raises OSError."""
    match = _MARK.fullmatch(read_capped(path, _BYTES) or b"")
    return None if match is None else StoredMark(int(match[1]), match[2].decode())
