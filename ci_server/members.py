"""The endpoints of the members of projects. Who is an administrator of a project changes its members."""

from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from ci_common.access.identity import SCOPES_OF, Identity, Role, Scope
from ci_common.errors import FieldError, MemberNotFound, ProjectNotFound
from ci_common.parsing.models import invalid
from ci_common.parsing.text import shown
from ci_common.sharing.projects import Member
from ci_common.spec import Name
from ci_common.times import utc_now
from ci_common.wire.access.projects import MemberRequest, MemberView, member_on_wire
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer, model_body
from ci_server.http.refusals import ScopeMissing
from ci_server.http.requests import NoQuery
from ci_server.http.responses import Document, list_document
from ci_server.projects import find_project

_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


async def list_members(call: Call[NoQuery, None]) -> Response:
    project = await find_project(call)
    members = await call.services.storage.projects.members(project.name)
    return await list_document([member_on_wire(member) for member in members], {})


async def get_member(call: Call[NoQuery, None]) -> Response:
    return Document(member_on_wire(await _found(call)))


async def set_member(call: Call[NoQuery, MemberRequest]) -> Response:
    project, owner = await find_project(call), _owner(call)
    _check(call.identity, project.name, Role(call.body.role))
    before = await _member(call, project.name, owner)
    if before is not None:
        _check(call.identity, project.name, before.role)
    member = Member(owner, Role(call.body.role), utc_now(), call.identity.name)
    if not await call.services.storage.projects.set_member(project.name, member):
        raise ProjectNotFound(f"no project {shown(project.name)} has been created")
    call.services.authentication.forget_memberships(owner)
    return Document(member_on_wire(await _member(call, project.name, owner) or member))


async def remove_member(call: Call[NoQuery, None]) -> Response:
    member = await _found(call)
    project = call.request.path_params["project"]
    _check(call.identity, project, member.role)
    await call.services.storage.projects.remove_member(project, member.owner)
    call.services.authentication.forget_memberships(member.owner)
    return Response(status_code=204)


def _check(sender: Identity, project: str, role: Role) -> None:
    """Raise ScopeMissing for a role that may do more in the project than the sender."""
    beyond = SCOPES_OF[role] - {Scope.KEYS_OWN} - sender.scopes_in(project)
    if beyond:
        raise ScopeMissing(f"{sender.name} cannot give or take scopes that it lacks: {', '.join(sorted(beyond))}")


def _owner(call: Call[Any, Any]) -> str:
    try:
        return _NAME.validate_python(call.request.path_params["owner"])
    except ValidationError:
        message = "it is not the name of an owner: one line of 1 to 200 characters"
        raise invalid("the path", FieldError("owner", message)) from None


async def _member(call: Call[Any, Any], project: str, owner: str) -> Member | None:
    members = await call.services.storage.projects.members(project)
    return next((member for member in members if member.owner == owner), None)


async def _found(call: Call[Any, Any]) -> Member:
    project, owner = await find_project(call), call.request.path_params["owner"]
    member = await _member(call, project.name, owner)
    if member is None:
        raise MemberNotFound(f"{shown(owner)} is not a member of the project {shown(project.name)}")
    return member


_PATH: Final = "/projects/{project}/members"

ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_members,
        summary="List the members of a project",
        description="the [members](project-settings.md#members) of a project by name",
        answers={200: json_answer(list[MemberView], "The members.")},
        errors=(ProjectNotFound,),
        scope=Scope.PROJECTS_READ,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="GET",
        path=f"{_PATH}/{{owner:rest}}",
        handler=get_member,
        summary="Get a member of a project",
        description="one of them",
        answers={200: json_answer(MemberView, "The member.")},
        errors=(ProjectNotFound, MemberNotFound),
        scope=Scope.PROJECTS_READ,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="PUT",
        path=f"{_PATH}/{{owner:rest}}",
        handler=set_member,
        body=model_body(MemberRequest, examples={"a developer": {"role": "developer"}}),
        summary="Make someone a member of a project, or change the role of a member",
        description=(
            "`role`, with no more scopes than the sender has in the project; it counts at once, in other server "
            "processes within 2 seconds"
        ),
        answers={200: json_answer(MemberView, "The member.")},
        errors=(ProjectNotFound,),
        scope=Scope.PROJECTS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="DELETE",
        path=f"{_PATH}/{{owner:rest}}",
        handler=remove_member,
        summary="Remove a member of a project",
        description="204: the role in the project is gone",
        answers={204: Answer("It is not a member any more.")},
        errors=(ProjectNotFound, MemberNotFound),
        scope=Scope.PROJECTS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
)
