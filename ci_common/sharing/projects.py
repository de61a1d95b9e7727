"""Projects: what is kept of one that was created, and what its settings change.

A job may name any project. One that was created has settings, which win over those of the installation, and members.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from ci_common.access.identity import Role
from ci_common.configuration.limits import Limit
from ci_common.configuration.quotas import MOST, UNLIMITED, parse_bytes, parse_count
from ci_common.configuration.retention import LONGEST_AGE
from ci_common.parsing.images import PATTERN_TEXT, check_image_pattern, matches_image
from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.text import shown
from ci_common.parsing.values import decimal_number, parse_duration
from ci_common.quotas import Ceiling, Quota
from ci_common.settings import Settings
from ci_common.spec import Spec

FOREVER: Final = "forever"
MOST_IMAGES: Final = 100
_MOST_JOBS: Final = 2**31
_LONGEST_DEFAULTS: Final = 16 * 1024


def _age(value: object) -> object:
    if value is None or value == FOREVER:
        return value
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= LONGEST_AGE:
        raise ValueError(f"{shown(value)} is not a retention period; write a duration (30d, 12h) or {FOREVER}")
    return seconds


def _number(value: object) -> object:
    if value is None or value == UNLIMITED:
        return value
    number = decimal_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number):
        raise ValueError(f"{shown(value)} is not a number of jobs to keep; write one (1000) or {UNLIMITED}")
    if not 0 < number <= _MOST_JOBS:
        raise ValueError(f"{shown(value)} is not a number from 1 to {_MOST_JOBS}")
    return int(number)


Age = Annotated[
    float | Literal["forever"] | None,
    BeforeValidator(_age),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_AGE},
                {"type": "string", "pattern": "^(?:[1-9][0-9]{0,3}[dhms]|forever)$"},
                {"type": "null"},
            ]
        }
    ),
]
"""Seconds for which something is kept, or `forever`."""
Kept = Annotated[
    int | Literal["unlimited"] | None,
    BeforeValidator(_number),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _MOST_JOBS},
                {"const": UNLIMITED},
                {"type": "null"},
            ]
        }
    ),
]
"""How many jobs are kept, or `unlimited`."""


class ProjectRetention(StrictModel):
    """How long a project's jobs are kept, and how many. What is left out is as the installation's settings say."""

    completed: Age = Field(None, description="how long completed jobs are kept; by default `CI_RETENTION`")
    failed: Age = Field(None, description="those that failed, timed out or errored; by default `CI_RETENTION_FAILED`")
    uploads: Age = Field(None, description="the upload of a completed job; by default `CI_UPLOAD_RETENTION`")
    jobs: Kept = Field(None, description="how many completed jobs are kept; by default `CI_MAX_JOBS_PER_PROJECT`")


def _check_defaults(spec: Spec | None) -> Spec | None:
    if spec is None:
        return None
    if spec.project is not None:
        raise ValueError("the defaults of a project name no project; leave the field project out")
    size = len(json.dumps(stored_defaults(spec)))
    if size > _LONGEST_DEFAULTS:
        raise ValueError(f"the defaults have {size} bytes; at most {_LONGEST_DEFAULTS} are taken")
    return spec


def _check_patterns(patterns: list[str] | None) -> list[str] | None:
    for pattern in patterns or ():
        check_image_pattern(pattern)
    return patterns


def stored_defaults(spec: Spec) -> dict[str, Any]:
    """Return the defaults of a project in their JSON form, with the fields that were given."""
    return spec.model_dump(mode="json", exclude_unset=True)


class WithoutProject:
    """Says in the JSON Schema of a spec that it names no project."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"allOf": [handler(schema), {"properties": {"project": {"type": "null"}}}]}


Images = Annotated[
    Annotated[
        list[Annotated[str, Field(json_schema_extra={"pattern": PATTERN_TEXT})]],
        at_most(MOST_IMAGES),
        AfterValidator(_check_patterns),
        Field(json_schema_extra={"maxItems": MOST_IMAGES}),
    ]
    | None,
    Field(description="patterns of the images that jobs may use, such as `python:3.*`; null: any"),
]
"""The images that the jobs of a project may use. An empty list allows none."""
Defaults = Annotated[
    Spec | None,
    AfterValidator(_check_defaults),
    WithoutProject(),
    Field(description="a [spec](ci-yaml.md) whose fields hold where neither the request nor `ci.yaml` has them"),
]


def _quota(parse_one: Callable[[str], int | None]) -> BeforeValidator:
    def parse(value: object) -> object:
        if value is None or value == UNLIMITED:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{shown(value)} is not a quota; write a number or {UNLIMITED}")
        whole = isinstance(value, float) and value.is_integer()
        return parse_one(str(int(value) if whole else value))

    return BeforeValidator(parse)


_COUNT: Final = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST}, {"const": UNLIMITED}, {"type": "null"}]}
_SIZE: Final = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MOST},
        {"type": "string", "pattern": "^(?:[1-9][0-9]{0,2}[kmgtKMGT]|unlimited)$"},
        {"type": "null"},
    ]
}
Count = Annotated[int | Literal["unlimited"] | None, _quota(parse_count), WithJsonSchema(_COUNT)]
Size = Annotated[int | Literal["unlimited"] | None, _quota(parse_bytes), WithJsonSchema(_SIZE)]


class ProjectQuotas(StrictModel):
    """What a project may use at most. What is left out is as the settings of the installation say."""

    queued: Count = Field(None, description="queued jobs; by default `CI_QUOTA_QUEUED`")
    running: Count = Field(None, description="jobs that run at a time; by default `CI_QUOTA_RUNNING`")
    stored: Size = Field(
        None, description="bytes of uploads, logs, artifacts and caches, as in 10g; by default `CI_QUOTA_STORED`"
    )
    uploads: Count = Field(None, description="uploads at a time; by default `CI_QUOTA_UPLOADS`")
    streams: Count = Field(None, description="open streams; by default `CI_QUOTA_STREAMS`")


class ProjectSettings(StrictModel):
    """The settings of one project, as they are stored."""

    images: Images = None
    defaults: Defaults = None
    retention: ProjectRetention = ProjectRetention()
    quotas: ProjectQuotas = ProjectQuotas()

    def stored(self) -> dict[str, Any]:
        """Return their JSON form."""
        document = self.model_dump(mode="json", exclude_none=True, exclude={"defaults"})
        return document if self.defaults is None else document | {"defaults": stored_defaults(self.defaults)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project that was created."""

    name: str
    description: str = ""
    created_time: datetime
    created_by: str
    """The name of the identity that created it."""
    version: int = 0
    """Counts the changes."""
    settings: ProjectSettings = field(default_factory=ProjectSettings)

    def refused_image(self, images: Iterable[str]) -> str | None:
        """Return the first of the images that the jobs of this project may not use; None if they may use all."""
        allowed = self.settings.images
        if allowed is None:
            return None
        return next((each for each in images if not any(matches_image(one, each) for one in allowed)), None)


@dataclass(frozen=True, slots=True)
class Member:
    """Someone who has a role in a project: an owner of keys, or a person who has signed in."""

    owner: str
    role: Role
    created_time: datetime
    created_by: str
    """The name of the identity that made it a member."""


def images_in(image: str | None, plan: Mapping[str, Any] | None) -> list[str]:
    """Return the images that a job needs: its own, and those of its services."""
    services = (plan or {}).get("services")
    described = services.values() if isinstance(services, dict) else ()
    images = (image, *(service.get("image") for service in described if isinstance(service, dict)))
    return [each for each in images if isinstance(each, str)]  # A plan that is not valid fails elsewhere.


def with_projects(settings: Settings, projects: Iterable[Project]) -> Settings:
    """Return the settings with the retention of these projects in the place of what the settings say of them."""
    changed: dict[str, dict[str, float | None]] = {}
    for project in projects:
        retention = project.settings.retention
        for name, value in (
            ("retention", retention.completed),
            ("retention_failed", retention.failed),
            ("upload_retention", retention.uploads),
            ("max_jobs_per_project", retention.jobs),
        ):
            if value is not None:
                changed.setdefault(name, {})[project.name] = None if isinstance(value, str) else value
    limits = {name: getattr(settings, name).with_others(others) for name, others in changed.items()}
    return settings.model_copy(update=limits) if limits else settings


def limit_of(settings: Settings, quota: Quota, project: Project | None, name: str) -> int | None:
    """Return the limit of a quota of the project `name`, which is `project` if it was created; None for no limit."""
    own = None if project is None else getattr(project.settings.quotas, quota)
    if own is not None:
        return None if isinstance(own, str) else int(own)
    general: Limit[int] = getattr(settings, f"quota_{quota}")
    return general.of(name)


def ceilings_of(
    settings: Settings, quotas: Iterable[Quota], *, name: str | None, project: Project | None, owner: str
) -> tuple[Ceiling, ...]:
    """Return the limits of these quotas for a job of `owner` in the project `name`, or in none. Most have no limit."""
    found: list[Ceiling] = []
    for quota in quotas:
        if name is not None and (limit := limit_of(settings, quota, project, name)) is not None:
            found.append(Ceiling("project", name, quota, limit))
        of_owners: Limit[int] = getattr(settings, f"quota_owner_{quota}")
        if (limit := of_owners.of(owner)) is not None:
            found.append(Ceiling("owner", owner, quota, limit))
    return tuple(found)
