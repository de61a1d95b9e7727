"""Which names and kinds of members an archive may have."""

import os
import re
import stat
import unicodedata
import zipfile

from ci_common.errors import InvalidUpload

_NAME_BYTES = 255
_PATH_BYTES = 2048
_DEPTH = 255
_UTF8_NAME = 0x800
_WINDOWS = 0
_WITH_MODES = (3, 19)
"""Unix and macOS, as zip archives number the systems that they were made on."""
_DRIVE = re.compile(r"[A-Za-z]:/")


def member_path(member: zipfile.ZipInfo) -> str:
    """Return a member's path relative to the archive's root, in normal form; empty for the root itself.

    Raises InvalidUpload where it would leave the root or is no name a file can have.
    """
    name = _name_of(member)
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
    if len(os.fsencode(path)) > _PATH_BYTES or any(len(os.fsencode(part)) > _NAME_BYTES for part in parts):
        raise InvalidUpload(
            f"member {shortened(name)} has too long a name: at most {_NAME_BYTES} bytes, {_PATH_BYTES} with folders"
        )
    if len(parts) > _DEPTH:
        raise InvalidUpload(f"member {shortened(name)} is too deep: at most {_DEPTH} names, one in another")
    return path


def kind_of(member: zipfile.ZipInfo) -> int:
    """Return the member's file type; raises InvalidUpload where it is none that is unpacked."""
    kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system in _WITH_MODES else 0
    if kind == 0:
        folder = member.orig_filename.endswith(("/", "\\") if member.create_system == _WINDOWS else "/")
        return stat.S_IFDIR if folder else stat.S_IFREG
    if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
        raise InvalidUpload(f"member {shortened(member.orig_filename)} is neither a file nor a folder nor a link")
    return kind


def is_executable(member: zipfile.ZipInfo) -> bool:
    """Tell whether anybody may execute the file."""
    return member.create_system in _WITH_MODES and bool(member.external_attr >> 16 & 0o111)


def shortened(name: str) -> str:
    """Return a name in quotes, in ASCII where it has characters that cannot be shown, and cut where it is long."""
    cut = name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"
    return repr(cut) if cut.isprintable() else ascii(cut)


def _name_of(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if not member.flag_bits & _UTF8_NAME:
        try:
            name = name.encode("cp437").decode()  # Most programs write UTF-8 and do not say so.
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
