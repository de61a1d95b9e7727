"""Explains what of a directory would be sent, and why the rest is left out. Sends nothing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_client.packing.ignore import Cause
from ci_client.packing.scan import scan_directory
from ci_client.packing.tree import Progress
from ci_common.manifests.entries import FOLDER, LINK, Entry
from ci_common.parsing.text import shown_size


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or directory that is left out."""

    path: str
    """Ends with `/` for a directory."""
    file: str | None
    """The ignore file below the root, `pyvenv.cfg` for a virtual environment, or None if it is always left out."""
    line: int | None
    pattern: str | None

    @property
    def why(self) -> str:
        """The rule, for people."""
        if self.line is not None:
            return f"{self.file}:{self.line}: {self.pattern}"
        return "always" if self.file is None else "a virtual environment"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a directory is to `ci run`."""

    files: list[Entry]
    """Files and links, the largest first."""
    changed: frozenset[str] | None
    """The paths of the files whose content the last upload of this directory did not have; None if there was none."""
    left_out: list[LeftOut]
    notes: list[str]

    @property
    def bytes(self) -> int:
        return sum(map(_size, self.files))

    @property
    def changed_bytes(self) -> int:
        return sum(_size(entry) for entry in self.files if self.changed is None or entry.path in self.changed)

    def lines(self) -> Iterator[str]:
        """Yield it as lines for people."""
        for entry in self.files:
            mark = "  (changed)" if self.changed is not None and entry.path in self.changed else ""
            what = "link" if entry.kind == LINK else shown_size(entry.size)
            yield f"{what:>11}  {entry.path}{mark}"
        count = f"{len(self.files)} file" + ("" if len(self.files) == 1 else "s")
        yield f"{count}, {shown_size(self.bytes)}" + (
            "" if self.changed is None else f"; {shown_size(self.changed_bytes)} of them are not in the last upload"
        )
        if self.left_out:
            yield "left out:"
        for each in self.left_out:
            yield f"  {each.path}  {each.why}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "files": [
                {
                    "path": entry.path,
                    "bytes": _size(entry),
                    "link": entry.kind == LINK,
                    "changed": self.changed is None or entry.path in self.changed,
                }
                for entry in self.files
            ],
            "total_files": len(self.files),
            "total_bytes": self.bytes,
            "changed_bytes": self.changed_bytes,
            "left_out": [
                {"path": each.path, "file": each.file, "line": each.line, "pattern": each.pattern}
                for each in self.left_out
            ],
            "notes": self.notes,
        }


def explain(root: Path, progress: Progress | None = None) -> Explanation:
    """Return what of a directory would be sent. Raises PackingError if something cannot be sent."""
    left_out: list[LeftOut] = []
    prefix = f"{root}/"

    def note(path: str, cause: Cause) -> None:
        file = cause.file
        if file is not None and file.startswith(prefix):
            file = file.removeprefix(prefix)
        elif file is not None and cause.line is not None:
            file = os.path.relpath(file, root)
        left_out.append(LeftOut(path, file, cause.line, cause.pattern))

    project = scan_directory(root, progress, on_left_out=note)
    base = project.memory.last_base()
    changed = None
    manifest = None if base is None else project.memory.manifest_of(base)
    if manifest is not None:
        known = {line.split(" ", 3)[2] for line in manifest.split("\n")[:-1]}
        changed = frozenset(entry.path for entry in project.entries if entry.is_file and entry.content not in known)
    files = sorted((entry for entry in project.entries if entry.kind != FOLDER), key=lambda entry: -_size(entry))
    return Explanation(files, changed, left_out, project.notes)


def _size(entry: Entry) -> int:
    return entry.size if entry.is_file else 0
