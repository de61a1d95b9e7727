"""`ci backup` and `ci restore`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ci_common.settings import Settings
from ci_common.system.reporting import log_to_stderr
from ci_controller.backup.restoring import restore_backup
from ci_controller.backup.taking import take_backup


async def backup(settings: Settings, target: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Take a backup and return its manifest. Raises what `take_backup` raises."""
    return (await take_backup(settings, target, say)).model_dump(mode="json")


async def restore(settings: Settings, source: Path, say: Callable[[str], None], *, keep_queue: bool) -> dict[str, Any]:
    """Restore a backup and return what was done. Raises what `restore_backup` raises."""
    log_to_stderr("warning", form="ci: %(message)s")
    done = await restore_backup(settings, source, say, keep_queue=keep_queue)
    return {
        "database": str(settings.db_path.absolute()),
        "data_path": str(settings.data_path),
        "installation_id": done.installation_id,
        "created": done.manifest.model_dump(mode="json")["created"],
        "jobs": done.jobs,
        "ended": done.settled.ended,
        "queued": done.settled.queued,
        "damaged": list(done.manifest.damaged),
    }
