"""All subjects, put together."""

import asyncio

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.doctor.database import examine_database
from ci_controller.doctor.engine import examine_engine
from ci_controller.doctor.leftovers import examine_directories
from ci_controller.doctor.machine import examine_machine, examine_versions
from ci_persistence.sqlite.inspection import DatabaseReport, DatabaseTrouble, inspect_database

CHECK_SECONDS = 2.0
"""How long a database's structure is checked."""


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything, and change nothing. Raises SettingsError."""
    data, database = DataDirectory(settings.data_path), settings.db_path
    seen = await asyncio.to_thread(_look_at_database, settings)
    report = seen if isinstance(seen, DatabaseReport) else None
    engine = asyncio.create_task(examine_engine(settings, data, report))
    try:
        about_database = examine_database(database, data, seen)
        machine = await asyncio.to_thread(examine_machine, database, data, report)
        directories = await asyncio.to_thread(examine_directories, database, data, report)
        return [examine_versions(), *about_database, *machine, *directories, *await engine]
    finally:
        engine.cancel()


def _look_at_database(settings: Settings) -> DatabaseReport | DatabaseTrouble:
    try:
        return inspect_database(settings.db_path, seconds=CHECK_SECONDS)
    except DatabaseTrouble as exc:
        return exc
