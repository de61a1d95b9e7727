"""The layout of a backup. A directory that has its final name and a manifest is a complete backup.

<backup>/
  manifest.json       written last
  secrets.keys        the key ring, only where it was asked for
  ci_jobs.db          the database as it was at one moment, as one file; ci_jobs.dump, by pg_dump, for PostgreSQL
  data/jobs/<job_id>/
    upload.zip        what was uploaded
    upload/           the same for an upload by manifest; jobs share their packs by hard links
    <attempt>/log     the log; of an attempt that had not ended, what there was of it
    <attempt>.times   the times of its bytes
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ci_common.errors import CiError
from ci_common.run_directory.layout import DataDirectory
from ci_common.secrets.stored import RING_FILE
from ci_persistence.copies import FILE_NAMES

FORMAT = 1
MANIFEST = "manifest.json"


class BackupFault(CiError):
    """A backup cannot be taken or restored. The message says why, and what to do."""


class Manifest(BaseModel):
    """What is in a backup."""

    model_config = ConfigDict(frozen=True)

    format: int
    created: datetime
    """When the database was copied."""
    program: str
    """The version of ci-server that took the backup."""
    schema_version: int
    installation_id: str
    data_path: str | None
    database: str = "sqlite"
    """The kind of database: `sqlite` or `postgresql`."""
    database_sha256: str
    left_out: tuple[str, ...] = ()
    """Ids of jobs in the database that were deleted before their files could be copied."""
    jobs: int
    unfinished: int
    """The number of jobs that had not completed."""
    files: int
    bytes: int
    """The size of the files, without the database."""
    without_upload: int
    """The number of jobs whose upload had been deleted before."""
    damaged: tuple[str, ...] = ()
    """Ids of jobs whose files differed from what their rows say when the backup was taken."""
    secrets: int = 0
    """The number of secrets in the database, as ciphertext; those that are kept elsewhere do not count."""
    key_ring: bool = False
    """Whether the keys are in the backup, too, with which everyone who has it can read the secrets."""


@dataclass(frozen=True, slots=True)
class Backup:
    """The paths of one backup."""

    path: Path

    def database(self, kind: str) -> Path:
        """Return the file of a database of this kind."""
        return self.path / FILE_NAMES[kind]

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.path / "data")

    @property
    def key_ring(self) -> Path:
        return self.path / RING_FILE

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

    def read(self) -> Manifest:
        """Return the manifest. Raises BackupFault if this is no complete backup, or one of a newer program."""
        try:
            manifest = Manifest.model_validate_json(self.manifest.read_bytes())
        except FileNotFoundError as exc:
            raise BackupFault(
                f"{self.path} is no backup, or one that was interrupted: there is no {MANIFEST} in it"
            ) from exc
        except (OSError, ValidationError) as exc:
            raise BackupFault(f"{self.manifest} cannot be read: {exc}") from exc
        if manifest.format > FORMAT:
            raise BackupFault(f"{self.path} is a backup of ci-server {manifest.program}: restore it with that version")
        return manifest
