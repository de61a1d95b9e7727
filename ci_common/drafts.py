"""Drafts: files that a process writes beside the one that they replace."""

import glob
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_OLD_SECONDS: Final = 60.0
"""Much longer than a small file is written."""


def remove_drafts(path: Path) -> None:
    """Remove what processes that were killed have left: files beside `path` called `NAME.*.new`, from a minute ago on.

    Raises OSError.
    """
    for draft in path.parent.glob(f"{glob.escape(path.name)}.*.new"):
        with suppress(FileNotFoundError):
            if time.time() - draft.lstat().st_mtime > _OLD_SECONDS:
                draft.unlink()
