"""All subjects, put together."""

import asyncio

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.doctor.database import examine_database
from ci_controller.doctor.engine import examine_engine
from ci_controller.doctor.leftovers import examine_caches, examine_directories, examine_logs, examine_trees
from ci_controller.doctor.machine import examine_machine, examine_versions
from ci_controller.doctor.secrets import examine_key_ring
from ci_persistence.inspection import inspect_database
from ci_persistence.stores.inspection import DatabaseReport, DatabaseTrouble

CHECK_SECONDS = 2.0
"""How long a database's structure is checked."""


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything, and change nothing. Raises SettingsError."""
    data, database = DataDirectory(settings.data_path), settings.database
    seen = await _look_at_database(settings)
    if not settings.has_files:
        where = Finding("data directory", True, f"on another host: CI_FILES={settings.files}")
        return [examine_versions(database), *examine_database(database, None, seen), where]
    report = seen if isinstance(seen, DatabaseReport) else None
    engine = asyncio.create_task(examine_engine(settings, data, report))
    try:
        about_database = examine_database(database, data, seen)
        machine = await asyncio.to_thread(examine_machine, database, data, report)
        directories = await examine_directories(database, data, report)
        logs = await examine_logs(settings, data)
        caches = await examine_caches(database, data, report)
        trees = await examine_trees(database, data, report)
        ring = await examine_key_ring(database, settings.keyring_path, report)
        leftovers = [*directories, *logs, *caches, *trees, *ring]
        return [examine_versions(database), *about_database, *machine, *leftovers, *await engine]
    finally:
        engine.cancel()


async def _look_at_database(settings: Settings) -> DatabaseReport | DatabaseTrouble:
    try:
        return await inspect_database(settings.database, seconds=CHECK_SECONDS)
    except DatabaseTrouble as exc:
        return exc
