"""Projects that were created, with their settings, and their members."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from ci_common.access.identity import Role
from ci_common.sharing.projects import Member, Project, ProjectSettings
from ci_common.times import from_micros, to_micros
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json

_NAMES = "name, description, created_time, created_by, version, settings"
_GET = Statement(f"SELECT {_NAMES} FROM projects WHERE name = :name")
_LIST = Statement(f"SELECT {_NAMES} FROM projects ORDER BY name")
_ADD = Statement(f"""
INSERT INTO projects ({_NAMES})
VALUES (:name, :description, :created_time, :created_by, :version, :settings) ON CONFLICT (name) DO NOTHING
""")
_CHANGE = Statement("""
UPDATE projects SET version = version + 1, description = :description, settings = :settings
WHERE name = :name AND version = :version
""")
_REMOVE = Statement("DELETE FROM projects WHERE name = :name")

_MEMBERS = Statement(
    "SELECT owner, role, created_time, created_by FROM members WHERE project = :project ORDER BY owner"
)
_MEMBERSHIPS_OF = Statement("SELECT project, role FROM members WHERE owner = :owner ORDER BY project")
_MEMBERSHIPS = Statement("SELECT owner, project, role FROM members ORDER BY owner, project")
_SET_MEMBER = Statement("""
INSERT INTO members (project, owner, role, created_time, created_by)
SELECT :project, :owner, :role, :created_time, :created_by WHERE EXISTS (SELECT 1 FROM projects WHERE name = :project)
ON CONFLICT (project, owner) DO UPDATE SET role = excluded.role
""")
_REMOVE_MEMBER = Statement("DELETE FROM members WHERE project = :project AND owner = :owner")


class ProjectStore:
    """The projects of one installation that were created. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Project | None:
        """Return the project with this name; None if none was created."""
        return await self._database.read(partial(_get, name=name))

    async def list(self) -> list[Project]:
        """Return all projects in the order of their names."""
        return await self._database.read(_list)

    async def add(self, project: Project) -> bool:
        """Store a new project. Return False, without a change, if there is one with its name."""
        return await self._database.write(partial(_add, project=project))

    async def change(self, project: Project) -> bool:
        """Store description and settings. Return False, without a change, if the row has another version."""
        return await self._database.write(partial(_change, project=project))

    async def remove(self, name: str) -> bool:
        """Delete the project with its settings and members; its jobs stay. Return whether there was one."""
        return await self._database.write(partial(_remove, name=name))

    async def members(self, project: str) -> tuple[Member, ...]:
        """Return the members of a project in the order of their names."""
        return await self._database.read(partial(_members, project=project))

    async def set_member(self, project: str, member: Member) -> bool:
        """Make someone a member, or give a member another role. Return False if no such project was created."""
        return await self._database.write(partial(_set_member, project=project, member=member))

    async def remove_member(self, project: str, owner: str) -> bool:
        """Delete a membership. Return whether there was one."""
        return await self._database.write(partial(_remove_member, project=project, owner=owner))

    async def memberships_of(self, owner: str) -> tuple[tuple[str, Role], ...]:
        """Return the projects that someone is a member of, with the roles."""
        return await self._database.read(partial(_memberships_of, owner=owner))

    async def memberships(self) -> dict[str, tuple[tuple[str, Role], ...]]:
        """Return those of everyone, by their names."""
        return await self._database.read(_memberships)


def _project(row: Row) -> Project:
    return Project(
        name=row["name"],
        description=row["description"],
        created_time=from_micros(row["created_time"]),
        created_by=row["created_by"],
        version=row["version"],
        settings=ProjectSettings.model_validate(json.loads(row["settings"])),
    )


def _settings(project: Project) -> str:
    return to_json(project.settings.stored())


async def _get(session: Session, *, name: str) -> Project | None:
    return next((_project(row) for row in await session.rows(_GET, {"name": name})), None)


async def _list(session: Session) -> list[Project]:
    return [_project(row) for row in await session.rows(_LIST)]


async def _add(session: Session, *, project: Project) -> bool:
    values: Mapping[str, Any] = {
        "name": project.name,
        "description": project.description,
        "created_time": to_micros(project.created_time),
        "created_by": project.created_by,
        "version": project.version,
        "settings": _settings(project),
    }
    return await session.execute(_ADD, values) > 0


async def _change(session: Session, *, project: Project) -> bool:
    values = {
        "name": project.name,
        "description": project.description,
        "version": project.version,
        "settings": _settings(project),
    }
    return await session.execute(_CHANGE, values) > 0


async def _remove(session: Session, *, name: str) -> bool:
    return await session.execute(_REMOVE, {"name": name}) > 0


async def _members(session: Session, *, project: str) -> tuple[Member, ...]:
    return tuple(
        Member(row["owner"], Role(row["role"]), from_micros(row["created_time"]), row["created_by"])
        for row in await session.rows(_MEMBERS, {"project": project})
    )


async def _set_member(session: Session, *, project: str, member: Member) -> bool:
    values = {
        "project": project,
        "owner": member.owner,
        "role": member.role,
        "created_time": to_micros(member.created_time),
        "created_by": member.created_by,
    }
    return await session.execute(_SET_MEMBER, values) > 0


async def _remove_member(session: Session, *, project: str, owner: str) -> bool:
    return await session.execute(_REMOVE_MEMBER, {"project": project, "owner": owner}) > 0


async def _memberships_of(session: Session, *, owner: str) -> tuple[tuple[str, Role], ...]:
    rows = await session.rows(_MEMBERSHIPS_OF, {"owner": owner})
    return tuple((row["project"], Role(row["role"])) for row in rows)


async def _memberships(session: Session) -> dict[str, tuple[tuple[str, Role], ...]]:
    found: dict[str, tuple[tuple[str, Role], ...]] = {}
    for row in await session.rows(_MEMBERSHIPS):
        found[row["owner"]] = (*found.get(row["owner"], ()), (row["project"], Role(row["role"])))
    return found
