"""All subjects, put together."""

import asyncio
import logging

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.doctor import database, disk, machine, permissions, versions
from ci_controller.doctor.containers import examine_containers
from ci_controller.doctor.leadership import examine_leadership
from ci_controller.doctor.leftovers import examine_directories
from ci_persistence.sqlite.inspection import DatabaseReport, DatabaseTrouble, inspect_database

CHECK_SECONDS = 2.0
"""How long a database's structure is checked."""

log = logging.getLogger(__name__)


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything, and change nothing. Raises SettingsError."""
    data = DataDirectory(settings.data_path)
    seen = await asyncio.to_thread(_look_at_database, settings)
    report = seen if isinstance(seen, DatabaseReport) else None
    containers = asyncio.create_task(examine_containers(settings, data, report))
    try:
        files = await asyncio.to_thread(_look_at_files, settings, data, report)
        return [
            versions.examine_versions(),
            *database.examine_database(settings.db_path, data, seen),
            *(examine_leadership(report) if report is not None else []),
            *files,
            *await containers,
        ]
    finally:
        containers.cancel()


def _look_at_database(settings: Settings) -> DatabaseReport | DatabaseTrouble:
    try:
        return inspect_database(settings.db_path, seconds=CHECK_SECONDS)
    except DatabaseTrouble as exc:
        return exc


def _look_at_files(settings: Settings, data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    return [
        *permissions.examine_permissions(settings.db_path, data),
        *disk.examine_disk(settings.db_path, data),
        *machine.examine_machine(data, report),
        *examine_directories(settings.db_path, data, report),
    ]
