"""`ci backup`, `ci restore` and `ci adopt`: what the controller's side does with database and data directory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_cli.roots.parts import server_parts
from ci_common.settings import Settings
from ci_common.system.reporting import log_to_stderr


async def backup(settings: Settings, target: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Take a backup and return its manifest. Raises ServerPartsMissing, and what ends a backup."""
    with server_parts():
        from ci_controller.backup.taking import take_backup

    return (await take_backup(settings, target, say)).model_dump(mode="json")


async def restore(settings: Settings, source: Path, say: Callable[[str], None], *, keep_queue: bool) -> dict[str, Any]:
    """Restore a backup and return what was done. Raises ServerPartsMissing, and what ends a restore."""
    with server_parts():
        from ci_controller.backup.restoring import restore_backup

    log_to_stderr("warning", form="ci: %(message)s")
    done = await restore_backup(settings, source, say, keep_queue=keep_queue)
    return {
        "database": str(settings.db_path.absolute()),
        "data_path": str(settings.data_path),
        "installation_id": done.installation_id,
        "created": done.manifest.model_dump(mode="json")["created"],
        "jobs": done.jobs,
        "ended": done.abandoned.ended,
        "queued": done.abandoned.queued,
        "damaged": list(done.manifest.damaged),
    }


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """What adopting the database means, for people to agree to."""

    database: str
    data_path: str
    problem: str
    """Why the data directory is not the database's; empty where it is, and nothing needs to be done."""
    installation_id: str
    unfinished: int
    keeps_jobs: bool


async def plan_adoption(settings: Settings, *, as_copy: bool) -> AdoptionPlan:
    """Return what adopting the database for the data directory would mean. Raises ServerPartsMissing, CiError."""
    return (await _adoption(settings, as_copy=as_copy))[0]


async def adopt(
    settings: Settings, agreed: AdoptionPlan, say: Callable[[str], None], *, as_copy: bool
) -> dict[str, Any]:
    """Adopt the database as `agreed` says, and return what was done. Raises ServerPartsMissing, CiError."""
    _, done = await _adoption(settings, as_copy=as_copy, agreed=agreed, say=say)
    return done


async def _adoption(
    settings: Settings,
    *,
    as_copy: bool,
    agreed: AdoptionPlan | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[AdoptionPlan, dict[str, Any]]:
    with server_parts():
        from ci_controller import ownership
        from ci_persistence.sqlite.repository import SQLiteJobRepository

    if not settings.db_path.exists():
        raise ownership.AdoptionRefused(
            f"there is no database at {settings.db_path.absolute()}: name it with CI_DB_PATH"
        )
    repository = SQLiteJobRepository(settings.db_path)
    try:
        await repository.open()
        adoption = await ownership.plan_adoption(settings, repository, as_copy=as_copy)
        plan = AdoptionPlan(
            database=str(settings.db_path.absolute()),
            data_path=str(settings.data_path),
            problem=adoption.mismatch.problem if adoption.mismatch is not None else "",
            installation_id=adoption.installation.id,
            unfinished=adoption.unfinished,
            keeps_jobs=adoption.keeps_jobs,
        )
        if agreed is None:
            return plan, {}
        if (plan.problem, plan.keeps_jobs) != (agreed.problem, agreed.keeps_jobs):
            raise ownership.AdoptionRefused("the database or the data directory has just changed: run `ci adopt` again")
        abandoned = await ownership.adopt(adoption, repository, say)
        installation = await repository.installation()
        done = {"database": plan.database, "data_path": plan.data_path, "installation_id": installation.id}
        return plan, done | {"ended": abandoned.ended, "kept": abandoned.queued}
    finally:
        await repository.close()
