"""Which names, kinds and links the members of an archive may have."""

import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_common.errors import InvalidUpload

if TYPE_CHECKING:
    import zipfile

_NAME_BYTES = 255
_PATH_BYTES = 2048
_DEPTH = 255
_UTF8_NAME = 0x800
_WINDOWS = 0
_WITH_MODES = (3, 19)
"""Unix and macOS, by the numbers that zip archives have for the systems on which they were made."""
_DRIVE = re.compile(r"[A-Za-z]:/")


def member_path(member: "zipfile.ZipInfo") -> str:
    """Return a member's path relative to the archive's root, in normal form; empty for the root itself.

    Raises InvalidUpload if it leads out of the root or cannot be the name of a file.
    """
    return checked_path(_name_of(member))


def checked_path(name: str) -> str:
    """Return the path that a name in an upload stands for, as `member_path` does. Raises InvalidUpload."""
    _check_characters(name)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    path = "/".join(parts)
    if drive := _DRIVE.match(name) or _DRIVE.match(path):
        raise InvalidUpload(
            f"member {shortened(name)} has an absolute path, since it begins with a drive letter; pack the files with "
            f"paths relative to the project, or rename the folder {drive[0][:-1]!r}"
        )
    if name.startswith("/"):
        raise InvalidUpload(f"member {shortened(name)} has an absolute path; pack paths relative to the project")
    if ".." in parts:
        raise InvalidUpload(f"member {shortened(name)} leads out of the project; pack only what is inside of it")
    if not (path.isascii() and len(path) <= _NAME_BYTES) and _is_too_long(path, parts):
        raise InvalidUpload(
            f"member {shortened(name)} has too long a name: at most {_NAME_BYTES} bytes, {_PATH_BYTES} with folders"
        )
    if len(parts) > _DEPTH:
        raise InvalidUpload(f"member {shortened(name)} is too deep: at most {_DEPTH} names, one in another")
    return path


def _is_too_long(path: str, parts: list[str]) -> bool:
    return len(os.fsencode(path)) > _PATH_BYTES or any(len(os.fsencode(part)) > _NAME_BYTES for part in parts)


def kind_of(member: "zipfile.ZipInfo") -> int:
    """Return the member's file type. Raises InvalidUpload if it is not a file, a folder or a link."""
    kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system in _WITH_MODES else 0
    if kind == 0:
        folder = member.orig_filename.endswith(("/", "\\") if member.create_system == _WINDOWS else "/")
        return stat.S_IFDIR if folder else stat.S_IFREG
    if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
        raise InvalidUpload(f"member {shortened(member.orig_filename)} is neither a file nor a folder nor a link")
    return kind


def is_executable(member: "zipfile.ZipInfo") -> bool:
    """Return whether the file is executable."""
    return member.create_system in _WITH_MODES and bool(member.external_attr >> 16 & 0o111)


def shortened(name: str) -> str:
    """Return a name in quotes, shortened if it is long, and escaped if it cannot be printed."""
    cut = name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"
    return repr(cut) if cut.isprintable() else ascii(cut)


def _name_of(member: "zipfile.ZipInfo") -> str:
    name = member.orig_filename
    if not member.flag_bits & _UTF8_NAME:
        try:
            name = name.encode("cp437").decode()  # Most programs write UTF-8 without setting the flag for it.
        except ValueError:
            pass
    return name.replace("\\", "/") if member.create_system == _WINDOWS else name


def _check_characters(name: str) -> None:
    if name.isprintable():
        return
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidUpload(
                f"member {shortened(name)} has the character U+{ord(character):04X} in its name, which is a control "
                "character or none at all; rename the file or leave it out"
            )


TARGET_BYTES = 4095
"""The longest target of a link."""
_PARTS = 255
_HOPS = 40
"""Linux follows at most so many links in one path."""
_PATH_CHARACTERS = 4096
_STEPS = 2_000_000
"""For all links of an archive together: 20 names for each of 100,000 links."""


def check_links(links: Mapping[str, str]) -> None:
    """Raise InvalidUpload if one of the `links`, path → target, leads out of the archive's root.

    Only the texts of the links are used, not the disk; each link is followed once, so the work grows with the length of
    the texts. A link to nothing or to itself is accepted.
    """
    following = _Following(links)
    for path in links:
        following.follow(path)


def check_target(path: str, target: str) -> None:
    """Raise InvalidUpload if a link at `path` with this target can never lead into the project."""
    if not target or "\0" in target or target.startswith("/"):
        raise _leads_out(path, target)
    if target.count("/") >= _PARTS:
        raise InvalidUpload(f"link {shortened(path)} has a target of more than {_PARTS} names, one in another")
    if any(len(name) > _NAME_BYTES for name in os.fsencode(target).split(b"/")):
        # To look at such a link is an error of the system's, where it is none to look at one that leads nowhere.
        raise InvalidUpload(
            f"link {shortened(path)} has a target with a name of more than {_NAME_BYTES} bytes, which no file can have"
        )


@dataclass(frozen=True, slots=True)
class _End:
    """Where a link leads."""

    place: str | None
    """A path from the root; None if the link leads to itself."""
    hops: int
    """How many links are followed on the way, including this one."""


class _Visit:
    """A link whose target is being followed."""

    __slots__ = ("hops", "is_circular", "link", "next", "parts", "place")

    def __init__(self, link: str, target: str) -> None:
        self.link = link
        self.parts = [part for part in target.split("/") if part not in ("", ".")]
        self.next = 0
        self.place = link.rpartition("/")[0]
        self.hops = 1
        self.is_circular = False

    @property
    def end(self) -> _End:
        return _End(None if self.is_circular else self.place, self.hops)


class _Following:
    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links
        self._ends: dict[str, _End] = {}
        self._open: set[str] = set()
        self._steps = 0

    def follow(self, link: str) -> None:
        """Determine where a link leads. Links on its way are followed first, without recursion."""
        wanted: str | None = link
        visits: list[_Visit] = []
        while wanted is not None or visits:
            if wanted is not None and wanted not in self._ends:
                self._open.add(wanted)
                visits.append(_Visit(wanted, self._links[wanted]))
            if not visits:
                return
            visit = visits[-1]
            wanted = self._walk(visit)
            if wanted is None:
                self._ends[visit.link] = visit.end
                self._open.discard(visit.link)
                visits.pop()

    def _walk(self, visit: _Visit) -> str | None:
        """Continue. Return a link that has to be followed first, or None at the end."""
        while visit.next < len(visit.parts):
            self._count_step()
            part = visit.parts[visit.next]
            if part == "..":
                if not visit.place:
                    raise _leads_out(visit.link, self._links[visit.link])
                visit.place = visit.place.rpartition("/")[0]
            else:
                path = f"{visit.place}/{part}" if visit.place else part
                if path in self._links:
                    if path not in self._ends and path not in self._open:
                        return path
                    self._cross(visit, path)
                else:
                    self._enter(visit, path)
            visit.next += 1
        return None

    def _enter(self, visit: _Visit, path: str) -> None:
        if len(path) > _PATH_CHARACTERS:
            raise InvalidUpload(f"link {shortened(visit.link)} leads to a path of more than {_PATH_CHARACTERS} bytes")
        visit.place = path

    def _cross(self, visit: _Visit, link: str) -> None:
        """Continue at the end of another link, unless that leads to itself or is being followed."""
        end = self._ends.get(link)
        if end is None or end.place is None:
            if visit.next + 1 < len(visit.parts):
                raise InvalidUpload(
                    f"link {shortened(visit.link)} leads on from link {shortened(link)}, which leads to itself"
                )
            visit.is_circular = True
            return
        visit.hops += end.hops
        if visit.hops > _HOPS:
            raise InvalidUpload(f"link {shortened(visit.link)} leads over more than {_HOPS} other links")
        self._enter(visit, end.place)

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > _STEPS:
            raise InvalidUpload(f"the zip archive's links name more than {_STEPS} folders and files on their way")


def _leads_out(link: str, target: str) -> InvalidUpload:
    return InvalidUpload(f"link {shortened(link)} leads out of the project, to {shortened(target)}")
