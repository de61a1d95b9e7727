"""Archives as somebody hostile would make them."""

import stat
import threading
import zipfile
from pathlib import Path

from ci_common.archives.unpack import UnpackLimits, unpack

LIMITS = UnpackLimits(bytes=64 * 1024**2, members=1000, ratio=200, ratio_free_bytes=16 * 1024**2)


class Case:
    """An archive being put together, and the directory it is unpacked into."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "upload.zip"
        self.target = folder / "workspace"
        self.target.mkdir()
        self.stopped = threading.Event()

    def write(self, *members: tuple[str | zipfile.ZipInfo, bytes | str]) -> None:
        with zipfile.ZipFile(self.archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    def unpack(self, limits: UnpackLimits = LIMITS) -> None:
        unpack(self.archive, self.target, limits, stopped=self.stopped)

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
