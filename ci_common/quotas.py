"""Quotas: what a project, or an owner of jobs, may use at most, and the error where that is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from ci_common.errors import RequestError
from ci_common.parsing.text import shown, shown_size


class Quota(StrEnum):
    """What is limited."""

    QUEUED = "queued"
    """Queued jobs."""
    RUNNING = "running"
    """Jobs that hold a slot."""
    STORED = "stored"
    """Bytes of uploads, logs, artifacts and caches, as far as the database knows them."""
    UPLOADS = "uploads"
    """Uploads under way."""
    STREAMS = "streams"
    """Open streams."""


Kind = Literal["project", "owner"]
KINDS: Final[tuple[Kind, ...]] = ("project", "owner")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The limit that one quota of a project or of an owner has."""

    kind: Kind
    name: str
    quota: Quota
    limit: int

    @property
    def whose(self) -> str:
        """Return whose quota it is, as a message says it."""
        return f"the project {shown(self.name)}" if self.kind == "project" else f"the owner {shown(self.name)}"


Usage = Mapping[Quota, int]
"""What is used of each quota."""

_HAVE: Final = {Quota.QUEUED: "queued jobs", Quota.RUNNING: "running jobs", Quota.STORED: "stored"} | {
    Quota.UPLOADS: "uploads under way",
    Quota.STREAMS: "open streams",
}


class QuotaExceeded(RequestError):
    """What the request needs is more than a quota leaves."""

    status = 429
    code = "quota_exceeded"
    title = "A quota is used up"
    retry_after = 10

    def __init__(self, ceiling: Ceiling, used: int) -> None:
        amount = shown_size if ceiling.quota is Quota.STORED else str
        super().__init__(
            f"{ceiling.whose} has {amount(used)} {_HAVE[ceiling.quota]} of at most {amount(ceiling.limit)} "
            f"(its quota {ceiling.quota}); try again once there is less"
        )
        self.ceiling = ceiling
        self.figures = {
            "quota": ceiling.quota.value,
            "quota_of": ceiling.kind,
            "limit": ceiling.limit,
            "used": used,
        }
