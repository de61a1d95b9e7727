"""Hostile archives, what is handed to pip, and the sandboxed processes that read projects."""

import os
import shlex
import signal
import stat
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ci_common.archives.unpack import UnpackLimits, unpack
from ci_server.detection.python.steps import python_steps
from tests.helpers.service import tree

LIMITS = UnpackLimits(bytes=64 * 1024**2, members=1000, ratio=200, ratio_free_bytes=16 * 1024**2)


class Case:
    """An archive being put together, and the directory it is unpacked into."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "upload.zip"
        self.target = folder / "workspace"
        self.target.mkdir()

    def write(self, *members: tuple[str | zipfile.ZipInfo, bytes | str]) -> None:
        with zipfile.ZipFile(self.archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    def unpack(self, limits: UnpackLimits = LIMITS) -> None:
        unpack(self.archive, self.target, limits)

    def found(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.target)): path.read_bytes()
            for path in self.target.rglob("*")
            if path.is_file() and not path.is_symlink()
        }


def member(name: str, mode: int, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = system
    return info


def link(name: str) -> zipfile.ZipInfo:
    return member(name, stat.S_IFLNK | 0o777)


# What is handed to pip for a project.

BUILT = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "thing"\n'


def pip_calls(directory: Path, files: dict[str, str]) -> list[list[str]]:
    """Return the arguments of each `pip install` for a project of these files."""
    text = python_steps(tree(directory, files))[0].shell or ""
    calls = [shlex.split(part) for part in text.split(" && ")]
    assert all(call[:4] == ["python", "-m", "pip", "install"] for call in calls)
    return [call[4:] for call in calls]


# The readers that a server has, found from outside.


def readers_of(server: int) -> list[int]:
    """Return the processes that the process `server` has started to read uploads in."""
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _is_reader_of(stat, server)]


def kill_readers(pids: Iterable[int]) -> None:
    """Kill those of the processes that have not ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_reader_of(stat: Path, server: int) -> bool:
    try:
        parent = int(stat.read_text().rpartition(")")[2].split()[1])
        return parent == server and b"ci_common.sandbox.child" in stat.with_name("cmdline").read_bytes()
    except OSError:
        return False  # It has ended.
