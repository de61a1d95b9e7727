"""Projects that were created, with their settings, and their members."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from ci_common.projects import Project, ProjectSettings
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
