"""Which database a data directory belongs to.

A database and a data directory name each other: the database has an id and the path of its directory, and the file
`installation` in the directory has the same id. Where they do not agree, neither a server nor a controller starts:
with the wrong directory a controller would end the jobs of one installation and remove the files of another.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.drafts import remove_drafts
from ci_common.errors import SettingsError, Unavailable
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.system.disk import sync

_MOST_BYTES = 16 * 1024
MOVED_TO = "moved to "
"""How the data directory of a database begins whose content was moved to another database, which follows."""


class WrongDataDirectory(SettingsError):
    """The database and the data directory that the settings name do not belong together."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The content of the file `installation`."""

    id: str
    """The id of the installation."""
    database: str
    """The database: its `DatabaseAddress.name`."""
    inode: int
    """The inode number of the file itself. A renamed directory keeps it; in a copy, the file has another one."""
    server_id: str = ""
    """What the database's server calls it; empty for a file. It stays when a host is renamed or a replica takes over,
    and a restored dump has another one."""

    @classmethod
    def read(cls, data: DataDirectory) -> Self | None:
        """Return the owner of a data directory, None where it has none yet. Raises WrongDataDirectory, OSError."""
        content = read_capped(data.owner_file, _MOST_BYTES)
        if content is None:
            return None
        try:
            fields = json.loads(content)
            named = cls(str(fields["id"]), str(fields["database"]), int(fields["inode"]))
            return replace(named, server_id=str(fields.get("server_id", "")))
        except (ValueError, KeyError, TypeError) as exc:
            raise WrongDataDirectory(
                f"{data.owner_file} should name the database that the directory belongs to, and cannot be read: "
                "restore that file, or move it away and run `ci adopt`"
            ) from exc


@dataclass(frozen=True, slots=True)
class BoundDatabase:
    """A database, and what it says of itself."""

    address: DatabaseAddress
    installation_id: str | None
    """None for one that is yet to be made."""
    data_path: str | None
    """The data directory that it belongs to; None while it belongs to none."""
    server_id: str = ""

    @property
    def name(self) -> str:
        return self.address.name


def write_owner(data: DataDirectory, database: BoundDatabase, *, replace: bool) -> None:
    """Make the data directory the database's, durably.

    Without `replace`, a directory that another installation has just taken stays that one's. Raises WrongDataDirectory,
    Unavailable.
    """
    draft = data.owner_file.with_name(f"{data.owner_file.name}.{os.getpid()}.new")
    try:
        with open(draft, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            owner = _owner(database, os.fstat(file.fileno()).st_ino)
            json.dump(asdict(owner), file)
            file.flush()
            os.fsync(file.fileno())
        if not replace and (found := Owner.read(data)) is not None and found.id != database.installation_id:
            raise WrongDataDirectory(f"the data directory {data.path} has just been taken by {found.database}")
        draft.replace(data.owner_file)
        sync(data.path)
    except OSError as exc:
        raise Unavailable(f"{data.owner_file} cannot be written: {exc.strerror}") from exc
    finally:
        draft.unlink(missing_ok=True)


def _owner(database: BoundDatabase, inode: int) -> Owner:
    return Owner(str(database.installation_id), database.name, inode, database.server_id)


def claim_directory(data: DataDirectory, database: BoundDatabase) -> None:
    """Have the data directory name its database, as it is called now. Raises WrongDataDirectory, Unavailable."""
    try:
        remove_drafts(data.owner_file)
    except OSError as exc:
        raise Unavailable(f"the data directory {data.path} cannot be read: {exc.strerror}") from exc
    owner = Owner.read(data)
    if owner is None:
        write_owner(data, database, replace=False)
    elif owner.id != database.installation_id:
        raise WrongDataDirectory(f"the data directory {data.path} belongs to the database {owner.database}")
    elif owner != _owner(database, data.owner_file.lstat().st_ino):
        write_owner(data, database, replace=True)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a database and a data directory do not belong together."""

    problem: str
    """What belongs where, and what the settings name."""
    repair: str
    """The settings that would be right, empty where they are not known."""
    is_final: bool = False
    """Whether the database cannot be adopted, since its content is elsewhere now."""
    moved_from: str = ""
    """The former data directory of an installation that was moved here, or copied from where it is not seen."""


def place_of(data: DataDirectory) -> str:
    """Return the path of a data directory as databases have it."""
    return str(data.path.resolve())


def mismatch(data: DataDirectory, database: BoundDatabase) -> Mismatch | None:
    """Return why the two do not belong together, None where they do. Changes nothing.

    An installation whose directory was renamed or moved within its file system is still the same. Raises OSError,
    WrongDataDirectory.
    """
    place, here, bound_to, owner = place_of(data), database.name, database.data_path, Owner.read(data)
    names_database = database.address.variable
    if bound_to is not None and bound_to.startswith(MOVED_TO):
        new = bound_to.removeprefix(MOVED_TO)
        return Mismatch(f"the database {here} was moved to {new}", _name_it(new), is_final=True)
    if owner is None:
        if bound_to in (None, place):
            return None
        return Mismatch(
            f"the database {here} belongs to the data directory {bound_to}, and CI_DATA_DIR names {place}",
            f"set CI_DATA_DIR={bound_to}",
        )
    if owner.id != database.installation_id:
        theirs = f" (this database belongs to {bound_to})" if bound_to not in (None, place) else ""
        return Mismatch(
            f"the data directory {place} belongs to the database {owner.database}, and {names_database} names {here}"
            f"{theirs}",
            _name_it(owner.database) + (f", or CI_DATA_DIR={bound_to}" if theirs else ""),
        )
    if _is_copy(owner, database):
        return Mismatch(f"the database {here} is a copy of {_found(owner, database)}", _name_it(owner.database))
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


def _is_copy(owner: Owner, database: BoundDatabase) -> bool:
    """Return whether the database is another one than the directory's, with the same id.

    A server's database is the same wherever its server is; a file is, once the former one is gone.
    """
    if owner.server_id or database.server_id:
        was_moved = not owner.server_id and not os.path.lexists(owner.database)
        return owner.server_id != database.server_id and not was_moved
    return owner.database != database.name and os.path.lexists(owner.database)


def _found(owner: Owner, database: BoundDatabase) -> str:
    if not owner.server_id:
        return f"{owner.database}, which is still there"
    if owner.database == database.name:
        return "the one that was at the same address before"
    return owner.database


def _name_it(database: str) -> str:
    if "://" in database:
        return f"set CI_DATABASE_URL to the URL of {database}"
    return f"set CI_DB_PATH={database}"


def check_owner(data: DataDirectory, database: BoundDatabase) -> None:
    """Raise WrongDataDirectory where `mismatch` finds one, with what to do about it; Unavailable."""
    try:
        found = mismatch(data, database)
    except OSError as exc:
        raise Unavailable(f"the data directory {data.path} cannot be read: {exc.strerror}") from exc
    if found is not None:
        raise WrongDataDirectory(f"{found.problem}; {_remedy(found, data, database.address)}")


def _remedy(found: Mismatch, data: DataDirectory, database: DatabaseAddress) -> str:
    """Return what to do about a mismatch, in one sentence without its end."""
    command = f"{database.assignment}CI_DATA_DIR={data.path} ci adopt"
    if found.is_final:
        return found.repair
    if found.moved_from:
        return f"to go on with it here: {command}"
    return f"{found.repair}, or take the database for this directory: {command}"


def _id_in(data: DataDirectory) -> str | None:
    try:
        owner = Owner.read(data)
    except (OSError, WrongDataDirectory):
        return None
    return None if owner is None else owner.id
