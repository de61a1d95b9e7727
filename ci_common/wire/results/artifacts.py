"""Artifacts as the API shows them: models, and the dictionaries that they describe."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from pydantic import Field

from ci_common.attempts.parts import Artifact, JobArtifacts
from ci_common.times import micros_to_rfc3339
from ci_common.wire.parts import Instant, Shown


class ArtifactView(Shown):
    """A file that is kept of what an attempt has left."""

    path: str = Field(description="relative to the project's directory")
    size: int = Field(ge=0, description="in bytes")
    sha256: str = Field(description="hexadecimal, of the content")
    content_type: str
    name: str | None = Field(description="the group that it belongs to")
    expires: Instant | None = Field(description="when its content is removed; null: with the job")
    removed: bool = Field(description="whether its content has been removed")


class LeftOutView(Shown):
    """A file that was to be kept, and is not."""

    path: str = Field(description="with escapes where it cannot be printed, and cut where it is long")
    reason: str


class ArtifactTotalsView(Shown):
    """How many artifacts an attempt has, and what was left out."""

    number: int = Field(ge=0)
    bytes: int = Field(ge=0)
    left_out_number: int = Field(ge=0, description="files that were to be kept, and are not")
    left_out: list[LeftOutView] = Field(description="the first of those, and why")


class ArtifactListView(ArtifactTotalsView):
    """The artifacts of an attempt."""

    artifacts: list[ArtifactView] = Field(description="in the order of their paths")


def artifact_on_wire(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact as the API shows it."""
    return {
        "path": artifact.path,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
        "name": artifact.name,
        "expires": None if artifact.expires is None else micros_to_rfc3339(artifact.expires),
        "removed": artifact.removed,
    }


def totals_on_wire(artifacts: JobArtifacts | None) -> dict[str, Any] | None:
    """Return how many artifacts an attempt has, as the API shows it."""
    if artifacts is None:
        return None
    return {
        "number": artifacts.number,
        "bytes": artifacts.bytes,
        "left_out_number": artifacts.left_out_number,
        "left_out": [asdict(left_out) for left_out in artifacts.left_out],
    }


def list_on_wire(totals: JobArtifacts | None, artifacts: Iterable[Artifact]) -> dict[str, Any]:
    """Return all artifacts of an attempt as the API shows them."""
    return {
        **(totals_on_wire(totals or JobArtifacts()) or {}),
        "artifacts": [artifact_on_wire(artifact) for artifact in artifacts],
    }
