"""Projects as a table, and one of them in detail."""

import json
from collections.abc import Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, details, table
from ci_cli.tables.times import local
from ci_client.formatting import span
from ci_common.parsing.text import shown_size


def project_table(projects: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return projects as a table with a head."""
    shown = (
        Column("NAME", lambda project: project["name"], cut=Cut.END),
        Column("CREATED", lambda project: local(project["created"]), spare=2),
        Column("BY", lambda project: project["created_by"], cut=Cut.END, spare=3),
        Column("IMAGES", lambda project: _images(project) or "any", cut=Cut.END, spare=1),
        Column("DESCRIPTION", lambda project: project["description"].partition("\n")[0], cut=Cut.END),
    )
    return table(shown, projects, width=width)


def member_table(members: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return the members of a project as a table with a head."""
    shown = (
        Column("MEMBER", lambda member: member["owner"], cut=Cut.END),
        Column("ROLE", lambda member: member["role"]),
        Column("SINCE", lambda member: local(member["created"]), spare=1),
        Column("BY", lambda member: member["created_by"], cut=Cut.END, spare=2),
    )
    return table(shown, members, width=width)


def project_details(project: dict[str, Any], *, width: int | None = None) -> str:
    """Return a project in detail."""
    rows = [
        ("project:", project["name"]),
        ("description:", project["description"]),
        ("created:", f"{local(project['created'])} by {project['created_by']}"),
        ("images:", _images(project) or "any"),
        ("defaults:", json.dumps(project["defaults"], ensure_ascii=False) if project["defaults"] else "none"),
        ("retention:", _retention(project)),
        *((f"{name}:", _quota(name, quota)) for name, quota in project["quotas"].items()),
    ]
    return details([row for row in rows if row[1]], width=width)


def _images(project: dict[str, Any]) -> str:
    allowed = project["images"]
    return "none" if allowed == [] else ", ".join(allowed or [])


def _retention(project: dict[str, Any]) -> str:
    kept = {name: value for name, value in project["retention"].items() if value is not None}
    if not kept:
        return "as the server's settings say"
    return ", ".join(f"{name} {_kept(name, value)}" for name, value in kept.items())


def _kept(name: str, value: Any) -> str:
    return str(value) if isinstance(value, str) or name == "jobs" else span(value)


def _quota(name: str, quota: dict[str, Any]) -> str:
    def amount(value: int) -> str:
        return shown_size(value) if name == "stored" else str(value)

    used = "" if quota["used"] is None else amount(quota["used"])
    return used if quota["limit"] is None else f"{used} of at most {amount(quota['limit'])}"
