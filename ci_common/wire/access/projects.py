"""Projects over HTTP: the bodies of requests, and what answers show."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from ci_common.access.identity import Role
from ci_common.parsing.models import StrictModel
from ci_common.parsing.text import shown
from ci_common.parsing.values import Text
from ci_common.quotas import Quota, Usage
from ci_common.redaction import masked_spec
from ci_common.settings import Settings
from ci_common.sharing.projects import (
    Defaults,
    Images,
    Member,
    Project,
    ProjectQuotas,
    ProjectRetention,
    limit_of,
    stored_defaults,
)
from ci_common.spec import Name
from ci_common.times import to_rfc3339
from ci_common.wire.parts import Instant, Shown

_NAME_PATTERN: Final = r"^(?!\.{1,2}$)[^/\u0000-\u001f\u007f-\u009f]*$"


def _in_a_path(name: str) -> str:
    if "/" in name or name in (".", ".."):
        raise ValueError(f"{shown(name)} cannot stand in a path; a project that is created has no / in its name")
    return name


ProjectName = Annotated[Name, AfterValidator(_in_a_path), Field(json_schema_extra={"pattern": _NAME_PATTERN})]
Description = Annotated[Text, Field(max_length=2000)]


class ProjectChanges(StrictModel):
    """What is to be different in a project. A field that is left out stays; one that is null is as if never set."""

    description: Description | None = Field(None, description="what it is, for people")
    images: Images = None
    defaults: Defaults = None
    retention: ProjectRetention | None = Field(
        None, description="how long and how many of its jobs are kept; its fields are changed one by one"
    )
    quotas: ProjectQuotas | None = Field(None, description="what it may use at most; its fields are changed one by one")


class ProjectRequest(ProjectChanges):
    """A project to be created."""

    name: ProjectName


class RetentionView(Shown):
    """How long something is kept: seconds, or `forever`; null: as the settings of the installation say."""

    completed: float | str | None
    failed: float | str | None
    uploads: float | str | None
    jobs: int | str | None = Field(description="how many, or `unlimited`")


class QuotaView(Shown):
    """A quota of a project."""

    own: int | str | None = Field(description="what the project says: a number or `unlimited`; null for nothing")
    limit: int | None = Field(description="what counts: its own, else that of the settings; null for no limit")
    used: int | None = Field(description="what is used of it; null in a list")


class ProjectView(Shown):
    """A project."""

    name: str
    description: str
    created: Instant
    created_by: str
    images: list[str] | None = Field(description="the patterns of images that its jobs may use; null for any")
    defaults: dict[str, Any] | None = Field(description="the spec below those of its jobs, secrets masked")
    retention: RetentionView
    quotas: dict[str, QuotaView] = Field(
        description="by name: `queued`, `running`, `stored` (bytes), `uploads`, `streams`"
    )


def project_on_wire(project: Project, installation: Settings, used: Usage | None = None) -> dict[str, Any]:
    """Return a project as the API shows it; `installation` are the settings that count where it says nothing."""
    settings = project.settings
    return {
        "name": project.name,
        "description": project.description,
        "created": to_rfc3339(project.created_time),
        "created_by": project.created_by,
        "images": settings.images,
        "defaults": None if settings.defaults is None else masked_spec(stored_defaults(settings.defaults)),
        "retention": settings.retention.model_dump(mode="json"),
        "quotas": {
            quota.value: {
                "own": getattr(settings.quotas, quota),
                "limit": limit_of(installation, quota, project, project.name),
                "used": None if used is None else used[quota],
            }
            for quota in Quota
        },
    }


MemberRole = Literal[Role.VIEWER, Role.DEVELOPER, Role.OPERATOR, Role.ADMIN]


class MemberRequest(StrictModel):
    """The role of a member."""

    role: MemberRole


class MemberView(Shown):
    """A member of a project."""

    owner: str = Field(description="the name of an identity: the owner of keys, or a person who has signed in")
    role: Role = Field(strict=False)
    created: Instant
    created_by: str


def member_on_wire(member: Member) -> dict[str, Any]:
    """Return a member as the API shows it."""
    return {
        "owner": member.owner,
        "role": member.role,
        "created": to_rfc3339(member.created_time),
        "created_by": member.created_by,
    }
