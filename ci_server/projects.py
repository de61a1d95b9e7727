"""The endpoints of projects that were created. A job may name others, too."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import quote

from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import ProjectConflict, ProjectNotFound
from ci_common.parsing.models import StrictModel
from ci_common.parsing.text import shown
from ci_common.sharing.projects import Project
from ci_common.times import utc_now
from ci_common.wire.access.projects import ProjectChanges, ProjectRequest, ProjectView, project_on_wire
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer, model_body
from ci_server.http.refusals import ScopeMissing, hidden
from ci_server.http.requests import NoQuery
from ci_server.http.responses import Document, list_document

_TRIES: Final = 5
PartT = TypeVar("PartT", bound=StrictModel)
_OF_THE_INSTALLATION: Final = ("images", "quotas")
"""Settings that restrict a project, so that its own administrators cannot change them."""


async def list_projects(call: Call[NoQuery, None]) -> Response:
    projects = await call.services.storage.projects.list()
    settings = call.services.settings
    seen = [project_on_wire(each, settings) for each in projects if call.identity.sees(each.name)]
    return await list_document(seen, {})


async def create_project(call: Call[NoQuery, ProjectRequest]) -> Response:
    empty = Project(name=call.body.name, created_time=utc_now(), created_by=call.identity.name)
    project = _changed(empty, call.body)
    call.services.concern(target=f"/projects/{quote(project.name, safe='')}", project=project.name)
    if not await call.services.storage.projects.add(project):
        raise ProjectConflict(f"there is a project {shown(project.name)} already; change it with PATCH")
    call.services.projects.forget(project.name)
    return await _shown(call, project, 201, {"Location": f"/projects/{quote(project.name, safe='')}"})


async def get_project(call: Call[NoQuery, None]) -> Response:
    return await _shown(call, await find_project(call))


async def change_project(call: Call[NoQuery, ProjectChanges]) -> Response:
    for _ in range(_TRIES):
        before = await find_project(call)
        after = _changed(before, call.body)
        for name in _OF_THE_INSTALLATION if call.identity.projects is not None else ():
            if getattr(before.settings, name) != getattr(after.settings, name):
                raise ScopeMissing(
                    f"to change {name} needs the scope {Scope.PROJECTS_ADMIN} for all projects, and "
                    f"{call.identity.name} has it for some only"
                )
        if await call.services.storage.projects.change(after):
            call.services.projects.forget(after.name)
            return await _shown(call, after)
    raise ProjectConflict("other requests change the project at the same time; send the request again")


async def remove_project(call: Call[NoQuery, None]) -> Response:
    project = await find_project(call)
    await call.services.storage.projects.remove(project.name)
    call.services.projects.forget(project.name)
    return Response(status_code=204)


async def _shown(
    call: Call[Any, Any], project: Project, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    used = await call.services.storage.quotas.used("project", project.name)
    return Document(project_on_wire(project, call.services.settings, used), status, headers)


def _changed(project: Project, changes: ProjectChanges) -> Project:
    given = changes.model_fields_set
    settings = project.settings
    updates: dict[str, Any] = {name: getattr(changes, name) for name in ("images", "defaults") if name in given}
    if "retention" in given:
        updates["retention"] = _merged(settings.retention, changes.retention)
    if "quotas" in given:
        updates["quotas"] = _merged(settings.quotas, changes.quotas)
    description = project.description if "description" not in given else changes.description or ""
    return replace(project, description=description, settings=settings.model_copy(update=updates))


def _merged(before: PartT, changes: PartT | None) -> PartT:
    """Return a part of the settings with the fields that are given; without any if it is null."""
    if changes is None:
        return type(before)()
    return before.model_copy(update={name: getattr(changes, name) for name in changes.model_fields_set})


async def find_project(call: Call[Any, Any]) -> Project:
    """Return the project that the path names. Raises ProjectNotFound, also for one that its sender may not see."""
    name = call.request.path_params["project"]
    if not call.identity.sees(name) and Scope.PROJECTS_READ in call.identity.scopes_in(name):
        raise ScopeMissing(f"{call.identity.name} may see the project {shown(name)}, and not change it")
    project = await call.services.storage.projects.get(name)
    if project is None or not call.identity.sees(name):
        raise hidden(ProjectNotFound(f"no project {shown(name)} has been created"), is_there=project is not None)
    call.services.concern(project=name)
    return project


_EXAMPLE: Final = {
    "description": "The web site.",
    "images": ["python:3.*", "ghcr.io/team/*"],
    "defaults": {"timeout": "20m", "limits": {"memory": "2g"}},
    "retention": {"completed": "7d", "failed": "30d"},
    "quotas": {"queued": 100, "running": 4, "stored": "20g"},
}

ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/projects",
        handler=list_projects,
        summary="List the projects",
        description="the [projects](project-settings.md) that were created and that the sender may see, by name",
        answers={200: json_answer(list[ProjectView], "The projects.")},
        scope=Scope.PROJECTS_READ,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
    Endpoint(
        method="POST",
        path="/projects",
        handler=create_project,
        body=model_body(ProjectRequest, examples={"a project": {"name": "website", **_EXAMPLE}}),
        summary="Create a project",
        description=(
            "`name`, and optionally `description`, `images`, `defaults`, "
            "`retention` and `quotas` "
            "([what they mean](project-settings.md#settings)); 201 the project. 409 if there is one"
        ),
        answers={201: json_answer(ProjectView, "The new project.", headers=("Location",))},
        errors=(ProjectConflict,),
        scope=Scope.PROJECTS_ADMIN,
        rate_class=RateClass.WRITE,
    ),
    Endpoint(
        method="GET",
        path="/projects/{project}",
        handler=get_project,
        summary="Get a project",
        description="one of them, with what is used of its [quotas](project-settings.md#quotas)",
        answers={200: json_answer(ProjectView, "The project.")},
        errors=(ProjectNotFound,),
        scope=Scope.PROJECTS_READ,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="PATCH",
        path="/projects/{project}",
        handler=change_project,
        body=model_body(ProjectChanges, examples={"some settings": _EXAMPLE}),
        summary="Change a project",
        description=(
            "the fields that are to be different; null removes a setting. `images` and `quotas` need the scope for all "
            "projects"
        ),
        answers={200: json_answer(ProjectView, "The project as it is now.")},
        errors=(ProjectNotFound, ProjectConflict),
        scope=Scope.PROJECTS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="DELETE",
        path="/projects/{project}",
        handler=remove_project,
        summary="Remove a project",
        description="204: its settings are gone; its jobs stay, and jobs may still name it",
        answers={204: Answer("It is removed.")},
        errors=(ProjectNotFound,),
        scope=Scope.PROJECTS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.INSTALLATION,
    ),
)
