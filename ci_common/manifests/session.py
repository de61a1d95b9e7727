"""An upload that is being received, in its directory below `incoming/`. All that is known of it is there.

<incoming>/<id>/
  session            what is to be received, until all of it is
  upload/            the stored upload; a pack that is not checked yet ends with `.part`
  1/workspace/       the workspace, as far as its files have been received
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from ci_common.manifests.packs import frame_sizes, whole_frames
from ci_common.manifests.stored import TREE, Pack
from ci_common.run_directory.layout import UPLOAD, RunDirectory
from ci_common.system.disk import sync

SESSION: Final = "session"
PART: Final = ".part"
SPARE: Final = "spare"
"""The beginning of the names of spare workspaces in the directory of a job."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be received."""

    owner: str
    project: str
    boot: str
    """Of which run of the machine the files are; those of another one may not have reached the disk."""
    first: int
    """The number of the first pack in the tree that is to be received."""
    packs: tuple[Pack, ...]
    """Those to be received, in this order."""
    known: tuple[int, ...] | None
    """The places of the entries whose contents are on the server and are not in the workspace yet; None for all."""
    size: int
    """Bytes of all files of the project."""
    files: int
    """How many files, links and folders it has."""
    tree_id: str

    @property
    def frames(self) -> int:
        return sum(len(frame_sizes(pack.size)) for pack in self.packs)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is."""

    packs: int
    """Packs that are received as a whole."""
    unchecked: tuple[int, ...]
    """Those of them that are not checked yet, by their places in the plan."""
    frames: int
    """Frames that are received, of these packs and of the next one."""
    frames_of_next: int
    bytes: int
    """Bytes received in all."""


@dataclass(frozen=True, slots=True)
class Session:
    """The paths of an upload that is being received."""

    path: Path

    @property
    def upload(self) -> Path:
        return self.path / UPLOAD

    @property
    def workspace(self) -> Path:
        return RunDirectory(self.path / "1").workspace

    @property
    def file(self) -> Path:
        return self.path / SESSION

    def part(self, pack: Pack) -> Path:
        return self.upload / f"{pack.name}{PART}"

    def write(self, plan: Plan) -> None:
        """Begin to receive. Raises OSError."""
        document = {
            "owner": plan.owner,
            "project": plan.project,
            "boot": plan.boot,
            "first": plan.first,
            "packs": [[pack.name, pack.size] for pack in plan.packs],
            "known": plan.known,
            "size": plan.size,
            "files": plan.files,
            "tree_id": plan.tree_id,
        }
        draft = self.path / f"{SESSION}.new"
        draft.write_text(json.dumps(document))
        draft.rename(self.file)

    def read(self) -> Plan:
        """Return what is to be received. Raises FileNotFoundError if nothing is, OSError."""
        document = json.loads(self.file.read_bytes())
        packs = tuple(Pack(*pack) for pack in document.pop("packs"))
        known = document.pop("known")
        return Plan(**document, packs=packs, known=None if known is None else tuple(known))

    def resume(self, plan: Plan) -> Progress:
        """Return how far the upload is, and cut off what an interrupted request has left. Raises OSError.

        Nothing may be writing to the session.
        """
        packs = frames = size = 0
        unchecked: list[int] = []
        for number, pack in enumerate(plan.packs):
            path, sizes = self.upload / pack.name, frame_sizes(pack.size)
            if not path.exists():
                path = self.part(pack)
                count, length = whole_frames(path, sizes) if path.exists() else (0, 0)
                if count < len(sizes):
                    self._cut(plan.packs[number:], length)
                    return Progress(packs, tuple(unchecked), frames + count, count, size + length)
                unchecked.append(number)
            packs, frames, size = packs + 1, frames + len(sizes), size + path.stat().st_size
        return Progress(packs, tuple(unchecked), frames, 0, size)

    def _cut(self, packs: Sequence[Pack], length: int) -> None:
        """Cut the first of these packs to a length, and remove what there is of the others."""
        if self.part(packs[0]).exists():
            os.truncate(self.part(packs[0]), length)
        for pack in packs[1:]:
            self.part(pack).unlink(missing_ok=True)

    def finish(self) -> None:
        """Make what is received durable, and leave nothing of the session but the upload and the workspace."""
        sync(self.upload / TREE)
        sync(self.upload)
        self.file.unlink()


def spare_workspace(job: Path) -> Path:
    """Return where the spare workspace of a job's tree is, if there is one that was made since the machine started."""
    return job / f"{SPARE}-{this_boot()}"


@cache
def this_boot() -> str:
    """Return what identifies this run of the machine; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
