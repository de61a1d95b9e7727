"""Problem documents (RFC 9457), as models of their JSON."""

from pydantic import Field

from ci_common.wire.answers import Shown

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldErrorView(Shown):
    """A field at fault."""

    path: str
    message: str


class ProblemView(Shown):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="for people; may change")
    code: str = Field(description="for programs; docs/http.md lists them")
    errors: list[FieldErrorView] = Field(default_factory=list, description="the fields at fault")
    error_id: str = Field("", description="with `internal_error`: where the server's log says more")
    free_bytes: int = Field(0, description="with `disk_low`, as the next two")
    min_free_bytes: int = 0
    wanted_bytes: int = 0
    quota: str = Field("", description="with `quota_exceeded`, as the next three: the name of the quota")
    quota_of: str = Field("", description="whose it is: `project` or `owner`")
    limit: int = 0
    used: int = 0
