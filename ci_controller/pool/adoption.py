"""What waits when a controller begins to lead, and when it leaves.

A workload belongs to whoever its id's places say: to the job whose row names it, be it moved to that job's directory
already or not; else to the pool, as long as its directory is in the pool's and its gate is read. So a controller that
starts takes over what waits, and removes whatever else it finds.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from ci_common.errors import CiError, RuntimeFault
from ci_common.jobs import Job, is_job_id
from ci_controller.job_writer import JobWriter
from ci_controller.pool.pool import Pool
from ci_controller.runtime.protocol import WAITING, Sighting

log = logging.getLogger(__name__)

LEAVING_SECONDS = 5.0
"""How long a controller that leaves takes to remove what waits."""


class Handover:
    """See the module."""

    def __init__(self, pool: Pool, writer: JobWriter) -> None:
        self._pool = pool
        self._stock = pool.stock
        self._writer = writer

    async def sort(self, sightings: list[Sighting]) -> tuple[list[Job], list[Sighting]]:
        """Say whose the workloads are that were created to wait: return the jobs that hold some, and those of nobody.

        What waits is taken over, and what was to wait and cannot any more is removed. Raises RuntimeUnavailable.
        """
        found = {sighting.key.job_id: sighting for sighting in sightings}
        unknown = found.keys() - self._stock.known
        # The rows after the engine: what jobs had taken by then, they name by now.
        held = await self._writer.repository.get_holders(unknown) if unknown else {}
        strangers: list[Sighting] = []
        for workload in sorted(unknown - held.keys()):
            if not self._stock.data.waiting_run(workload).path.is_dir():
                strangers.append(found[workload])
            elif not await self._take_over(found[workload]):
                await self._remove(workload)
        return list(held.values()), strangers

    async def _take_over(self, sighting: Sighting) -> bool:
        workload = sighting.key.job_id
        if sighting.kind is None or not self._pool.has_room or not await self._stock.waits(workload):
            return False
        self._pool.found(workload, sighting.kind)
        return True

    async def sweep(self) -> bool:
        """Remove the directories of workloads that are gone; return whether all of them could be.

        For whoever begins to lead, after the first `sort`.
        """
        left = await asyncio.to_thread(_names_in, self._stock.data.pool) - self._stock.known
        unheld = left - (await self._writer.repository.get_holders(left)).keys()
        return all([await self._remove(workload) for workload in unheld])

    async def _remove(self, workload: str) -> bool:
        """Remove a workload that waits, if that is possible at present; the next look finds it again otherwise."""
        try:
            await self._stock.remove(workload)
        except (RuntimeFault, OSError) as exc:
            log.warning("a waiting container cannot be removed at present: %s", exc)
            return False
        return True

    async def close(self) -> None:
        """Remove what waits, within a bounded time; what is left then the next controller takes over."""
        self._pool.close()
        with suppress(CiError, OSError):  # This term may have been too short to find what another left.
            async with asyncio.timeout(LEAVING_SECONDS):
                listed = await self._stock.runtime.list_workloads()
                await self.sort([each for each in listed if each.key.attempt == WAITING])
        ours = (*self._stock.waiting, *self._stock.making)
        removals = [asyncio.create_task(self._stock.remove(workload)) for workload in ours]
        if removals:
            done, late = await asyncio.wait(removals, timeout=LEAVING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in done:
                if isinstance(task.exception(), RuntimeFault | OSError):
                    log.warning("a waiting container is left: %s", task.exception())


def _names_in(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir() if is_job_id(entry.name)}
    except FileNotFoundError:
        return set()
