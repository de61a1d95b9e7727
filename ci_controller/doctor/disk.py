"""Room on the disks, and what takes it."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.trees import Folder

LITTLE_SPACE = 1024**3
_LITTLE_INODES = 10_000
_WALK_SECONDS = 2.0
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse.sshfs", "ceph", "glusterfs", "afs", "ncpfs"}
)


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def examine_disk(database: Path, data: DataDirectory) -> list[Finding]:
    """Look at free space and inodes, kinds of file system, and disk use by part."""
    places = {"data directory": nearest_existing(data.path)}
    if os.stat(nearest_existing(database)).st_dev != os.stat(places["data directory"]).st_dev:
        places["database's disk"] = nearest_existing(database)
    return [*(examine_room(name, path) for name, path in places.items()), _use(database, data)]


def examine_room(name: str, path: Path) -> Finding:
    """Judge the room on the file system that holds an existing path."""
    status = os.statvfs(path)
    free, inodes = status.f_bavail * status.f_frsize, status.f_favail
    kind = _kind_of(path)
    message = f"{path}, {free / 1024**3:.1f} GiB free" + (f", {inodes:,} inodes" if status.f_files else "")
    if kind in _REMOTE:
        remedy = "name a local disk with CI_DB_PATH and CI_DATA_DIR"
        return Finding(name, False, f"{path} is on {kind}: neither SQLite nor inotify works over a network", remedy)
    if free < LITTLE_SPACE or (status.f_files and inodes < _LITTLE_INODES):
        return Finding(
            name, None, f"{message}: uploads, workspaces and logs need room", f"see what takes it: du -xh {path}"
        )
    return Finding(name, True, message)


def _kind_of(path: Path) -> str:
    """Return the type of the file system that holds `path`, empty where the system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mounted = fields.split()[4].encode().decode("unicode_escape")
        inside = str(path.resolve()).startswith(mounted.rstrip("/") + "/") or str(path.resolve()) == mounted
        if inside and len(mounted) >= len(best):
            best, kind = mounted, rest.split()[0]
    return kind


@dataclass(slots=True)
class _Use:
    uploads: int = 0
    logs: int = 0
    workspaces: int = 0
    incoming: int = 0
    is_complete: bool = True


def _use(database: Path, data: DataDirectory) -> Finding:
    use = _Use()
    deadline = time.monotonic() + _WALK_SECONDS
    for part, entry in _files(data):
        try:
            size = entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            continue
        setattr(use, part, getattr(use, part) + size)
        if time.monotonic() > deadline:
            use.is_complete = False
            break
    rows = {"uploads": use.uploads, "logs": use.logs, "workspaces": use.workspaces, "arriving": use.incoming}
    for suffix, name in (("", "database"), ("-wal", "its write-ahead log")):
        path = database.with_name(database.name + suffix)
        rows[name] = path.stat().st_blocks * 512 if path.exists() else 0
    shown = ", ".join(f"{name} {count / 1024**2:.1f} MiB" for name, count in rows.items())
    if use.is_complete:
        return Finding("disk use", True, shown)
    return Finding(
        "disk use", True, f"{shown}, and more than could be counted in {_WALK_SECONDS:g} s: du -sh {data.path}"
    )


def _files(data: DataDirectory) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield every file in the data directory, with the part that it belongs to."""
    for entry in _walk(data.incoming):
        yield "incoming", entry
    for job in _scan(data.jobs):
        with suppress(OSError), Folder.opened(Path(job.path)) as folder:
            yield from _files_of_job(folder)


def _files_of_job(job: Folder) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    for entry in job.entries():
        if not entry.is_dir(follow_symlinks=False):
            yield ("uploads" if entry.name == "upload.zip" else "logs"), entry
            continue
        with suppress(OSError), job.folder(entry.name) as attempt:
            for folder, found in _below(attempt):
                yield ("logs" if folder is attempt and found.name == "log" else "workspaces"), found


def _walk(path: Path) -> Iterator["os.DirEntry[str]"]:
    with suppress(OSError), Folder.opened(path) as top:
        for _, entry in _below(top):
            yield entry


def _below(top: Folder) -> Iterator[tuple[Folder, "os.DirEntry[str]"]]:
    """Yield all files below, each with the directory that it is in, which is open until the next."""
    for folder in top.walk(lenient=True):
        for entry in folder.entries():
            if not entry.is_dir(follow_symlinks=False):
                yield folder, entry


def _scan(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the entries of a directory; none where it cannot be read, or has just gone."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
