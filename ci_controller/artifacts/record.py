"""What the controller has begun to keep of an attempt, and what it has kept: written before and after.

So a controller that follows one that died neither keeps anything twice nor leaves what the other had begun. The record
lies beside the run directory, where the job cannot change it.
"""

from pydantic import BaseModel, ConfigDict, ValidationError

from ci_common.attempts.parts import JobArtifacts
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.system.disk import sync

_MOST_BYTES = 256 * 1024**2


class Collections(BaseModel):
    """The collections of one attempt."""

    model_config = ConfigDict(extra="forbid")

    begun: list[str] = []
    """The ids of all whose contents may be in the artifact store."""
    kept: str | None = None
    """The id of the one that came to its end."""
    artifacts: JobArtifacts | None = None
    """What that one has kept."""


def read_record(run: RunDirectory) -> Collections:
    """Return what is known of the collections of an attempt."""
    try:
        return Collections.model_validate_json(read_capped(run.artifact_record, _MOST_BYTES) or b"{}")
    except ValidationError:
        return Collections()


def write_record(run: RunDirectory, collections: Collections) -> None:
    """Write what is known of the collections of an attempt, as a whole. Raises OSError."""
    draft = run.artifact_record.with_name(f"{run.artifact_record.name}.draft")
    draft.write_text(collections.model_dump_json())
    sync(draft)
    draft.replace(run.artifact_record)
    sync(run.path.parent)
