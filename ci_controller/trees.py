"""Deleting what a job has left: trees without write permission, and of any depth."""

import os
import stat
from itertools import count
from pathlib import Path

from ci_common.append_only import unlink


def delete_tree(path: Path) -> None:
    """Delete the directory at `path` and all in it; does nothing where there is none. Follows no symbolic link.

    Directories that are not writable are made so. Raises OSError where something is left.
    """
    if not os.path.lexists(path):
        return
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise NotADirectoryError(f"{path} is not a directory")
    # Folders are moved to the top before they are emptied, so that neither recursion nor a path's length limits depth.
    names = count()
    folders = [path]
    while folders:
        folder = folders.pop()
        _make_writable(folder)
        for entry in list(os.scandir(folder)):
            if not entry.is_dir(follow_symlinks=False):
                unlink(entry.path)
            elif folder == path:
                folders.append(Path(entry.path))
            else:
                _make_writable(Path(entry.path))  # To move a directory is to write into it.
                folders.append(_moved(Path(entry.path), path, names))
        if folder != path:
            folder.rmdir()
    path.rmdir()


def _make_writable(folder: Path) -> None:
    if folder.lstat().st_mode & 0o700 != 0o700:
        folder.chmod(0o700)


def _moved(folder: Path, top: Path, names: "count[int]") -> Path:
    while os.path.lexists(target := top / f".deleting-{next(names)}"):
        pass
    folder.rename(target)
    return target
