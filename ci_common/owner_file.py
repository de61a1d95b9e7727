"""Which database a data directory belongs to.

A database and a data directory name each other: the database has an id and the path of its directory, and the file
`installation` in the directory has the same id. Where they do not agree, neither a server nor a controller starts:
with the wrong directory a controller would end the jobs of one installation and remove the files of another.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ci_common.errors import Unavailable
from ci_common.run_directory.layout import DataDirectory, read_capped
from ci_common.settings import SettingsError
from ci_common.system.disk import sync

_MOST_BYTES = 16 * 1024


class WrongDataDirectory(SettingsError):
    """The database and the data directory that the settings name do not belong together."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The content of the file `installation`."""

    id: str
    """The id of the installation."""
    database: str
    """The database, absolute and without symbolic links."""
    inode: int
    """The inode number of the file itself. A renamed directory keeps it; in a copy, the file has another one."""

    @classmethod
    def read(cls, data: DataDirectory) -> Self | None:
        """Return the owner of a data directory, None where it has none yet. Raises WrongDataDirectory, OSError."""
        content = read_capped(data.owner_file, _MOST_BYTES)
        if content is None:
            return None
        try:
            fields = json.loads(content)
            return cls(str(fields["id"]), str(fields["database"]), int(fields["inode"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise WrongDataDirectory(
                f"{data.owner_file} should name the database that the directory belongs to, and cannot be read: "
                "restore that file, or move it away and run `ci adopt`"
            ) from exc


def write_owner(data: DataDirectory, installation_id: str, database: Path, *, replace: bool) -> None:
    """Make the data directory the installation's, durably.

    Without `replace`, a directory that another installation has just taken stays that one's. Raises WrongDataDirectory,
    Unavailable.
    """
    draft = data.owner_file.with_name(f"{data.owner_file.name}.{os.getpid()}.new")
    try:
        with open(draft, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            owner = Owner(installation_id, str(database.resolve()), os.fstat(file.fileno()).st_ino)
            json.dump(asdict(owner), file)
            file.flush()
            os.fsync(file.fileno())
        if not replace and (found := Owner.read(data)) is not None and found.id != installation_id:
            raise WrongDataDirectory(f"the data directory {data.path} has just been taken by {found.database}")
        draft.replace(data.owner_file)
        sync(data.path)
    except OSError as exc:
        raise Unavailable(f"{data.owner_file} cannot be written: {exc.strerror}") from exc
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a database and a data directory do not belong together."""

    problem: str
    """What belongs where, and what the settings name."""
    repair: str
    """The settings that would be right, empty where they are not known."""
    moved_from: str = ""
    """The former data directory of an installation that was moved here, or copied from where it is not seen."""


def place_of(data: DataDirectory) -> str:
    """Return the path of a data directory as databases have it."""
    return str(data.path.resolve())


def mismatch(data: DataDirectory, database: Path, installation_id: str | None, bound_to: str | None) -> Mismatch | None:
    """Return why the two do not belong together, None where they do. Changes nothing.

    `installation_id` and `bound_to`, the path of the data directory, are the database's; both are None for one that is
    yet to be made. An installation whose directory was renamed or moved within its file system is still the same.
    Raises OSError, WrongDataDirectory.
    """
    place, here, owner = place_of(data), str(database.resolve()), Owner.read(data)
    if owner is None:
        if bound_to in (None, place):
            return None
        return Mismatch(
            f"the database {here} belongs to the data directory {bound_to}, and CI_DATA_DIR names {place}",
            f"set CI_DATA_DIR={bound_to}",
        )
    if owner.id != installation_id:
        theirs = f" (this database belongs to {bound_to})" if bound_to not in (None, place) else ""
        return Mismatch(
            f"the data directory {place} belongs to the database {owner.database}, and CI_DB_PATH names {here}{theirs}",
            f"set CI_DB_PATH={owner.database}" + (f", or CI_DATA_DIR={bound_to}" if theirs else ""),
        )
    if owner.database != here and os.path.lexists(owner.database):
        return Mismatch(
            f"the database {here} is a copy of {owner.database}, which is still there",
            f"set CI_DB_PATH={owner.database}",
        )
    if bound_to in (None, place):
        return None
    if _id_in(DataDirectory(Path(bound_to))) == owner.id:
        return Mismatch(
            f"the data directory {place} is a copy of {bound_to}, which is still there", f"set CI_DATA_DIR={bound_to}"
        )
    if data.owner_file.lstat().st_ino != owner.inode:
        return Mismatch(
            f"the data directory {place} was copied from {bound_to}, which cannot be seen from here any more",
            "",
            moved_from=bound_to or "",
        )
    return None


def check_owner(data: DataDirectory, database: Path, installation_id: str | None, bound_to: str | None) -> None:
    """Raise WrongDataDirectory where `mismatch` finds one, with what to do about it; Unavailable."""
    try:
        found = mismatch(data, database, installation_id, bound_to)
    except OSError as exc:
        raise Unavailable(f"the data directory {data.path} cannot be read: {exc.strerror}") from exc
    if found is not None:
        raise WrongDataDirectory(f"{found.problem}; {remedy(found, data, database)}")


def remedy(found: Mismatch, data: DataDirectory, database: Path) -> str:
    """Return what to do about a mismatch, in one sentence without its end."""
    command = f"CI_DB_PATH={database.absolute()} CI_DATA_DIR={data.path} ci adopt"
    if found.moved_from:
        return f"to go on with it here: {command}"
    return f"{found.repair}, or take the database for this directory: {command}"


def _id_in(data: DataDirectory) -> str | None:
    try:
        owner = Owner.read(data)
    except (OSError, WrongDataDirectory):
        return None
    return None if owner is None else owner.id
