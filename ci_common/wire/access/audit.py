"""The audit over HTTP: what answers show of entries, and of a walk along the chain."""

from typing import Any, Final

from pydantic import Field

from ci_common.sharing.audit import Outcome, Verified
from ci_common.wire.parts import Instant, Shown

DIGEST_PATTERN: Final = "^[0-9a-f]{64}$"
MARK_PATTERN: Final = "^[0-9]{1,18}:[0-9a-f]{64}$"


class AuditEntryView(Shown):
    """An entry of the audit."""

    number: int = Field(description="its place, without gaps")
    time: Instant = Field(description="of several refusals, that of the first one")
    action: str = Field(description="the `operationId` of the endpoint, or the name of the command's action")
    actor: str = Field(description="who sent the request, or ran the command")
    key_id: str | None = Field(description="the key that it was sent with")
    address: str = Field(description="where it came from; `command line` for a command where the server runs")
    request: str = Field(description="its method and path, or the command")
    target: str = Field(description="what it was about, as a path of this API; for a submission the new job")
    project: str | None
    outcome: Outcome
    reason: str | None = Field(description="the code of the error with which it was refused")
    count: int = Field(description="how many refusals of one sender within a minute this stands for", ge=1)
    previous: str = Field(description="the digest of the entry before", pattern=DIGEST_PATTERN)
    digest: str = Field(description="of the other fields", pattern=DIGEST_PATTERN)


class BrokenView(Shown):
    """Where the chain does not hold."""

    number: int = Field(description="of the first entry that does not fit")
    reason: str


class VerifiedView(Shown):
    """What a walk along the chain of the audit has found."""

    entries: int = Field(description="how many fit")
    removed: str = Field(description="the mark of the last one that was removed since it was old", pattern=MARK_PATTERN)
    last: str = Field(description="the mark of the last one that fits: keep it somewhere else", pattern=MARK_PATTERN)
    broken: BrokenView | None = Field(description="null if all fit")


def verified_on_wire(verified: Verified) -> dict[str, Any]:
    """Return what a walk has found as the API shows it."""
    broken = verified.broken
    return {
        "entries": verified.entries,
        "removed": str(verified.removed),
        "last": str(verified.last),
        "broken": None if broken is None else {"number": broken.number, "reason": broken.reason},
    }
