"""What the engine and the files of an attempt show of it, put together."""

import os
from pathlib import Path

from ci_common.jobs import Job, StartWay, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.system.disk import Ballast, is_full
from ci_controller.execution.logs import damage_of
from ci_controller.execution.watching import AttemptWatch
from ci_controller.policy.limits import Usage
from ci_controller.policy.verdicts import Observation, WorkloadPhase, has_ended, tells_all
from ci_controller.run_directory import preparation
from ci_controller.runtime.protocol import WAITING, EngineStatus, Runtime, WorkloadKey


class Observer:
    """Observes attempts in run directories of this machine."""

    def __init__(self, runtime: Runtime, data: Path, ballast: Ballast) -> None:
        """`data` is the data directory, `ballast` the disk space that is reserved for the database."""
        self._runtime = runtime
        self._data = data
        self._ballast = ballast

    async def observe(self, job: Job, run: RunDirectory, workload: WorkloadKey, *, has_claim: bool) -> Observation:
        """Return what the engine and the run directory show of an attempt that runs in `workload`.

        `has_claim`: it has claimed a workload that had waited, whether it runs in that or not.
        """
        if (finished := self.finished(job, run)) is not None:
            return finished
        status = await self.look(job, run, workload)
        if (finished := self.finished(job, run)) is not None:
            return finished
        # The marks are read after the engine was asked: what has exited by then has left all it will ever leave.
        started, waiting, ended = run.is_started(), run.is_waiting(), run.read_exit()
        if job.state is State.RUNNING and status.phase is WorkloadPhase.RUNNING and not os.path.lexists(run.gate):
            started = True  # The job has removed the mark with the gate, which is there until it has completed.
        completed = job.state is State.COMPLETED
        return Observation(
            _phase(status.phase, waiting=waiting, started=started),
            exit=ended,
            started=started,
            finished=not completed and run.is_spent(),
            start_way=StartWay.WARM if workload.attempt == WAITING else StartWay.COLD,
            workload_exit_code=status.exit_code,
            out_of_memory=status.out_of_memory,
            disk_full=ended is None and self._is_disk_full(),
            log_damage=damage_of(job, run, ended),
            cleaned=not completed or (preparation.is_cleared(run) and not has_claim),
        )

    def finished(self, job: Job, run: RunDirectory) -> Observation | None:
        """Return the observation of an attempt whose script has said all there is to learn, else None."""
        has_run = job.state in (State.RUNNING, State.COMPLETED)
        if not has_run or not self._runtime.has_console:  # Without one, it cannot know.
            return None
        ended = run.read_exit()
        if ended is None or not tells_all(ended):
            return None
        damage = damage_of(job, run, ended)
        return Observation(WorkloadPhase.FINISHED, exit=ended, started=run.is_started(), log_damage=damage)

    async def look(self, job: Job, run: RunDirectory, workload: WorkloadKey) -> EngineStatus:
        """Ask the engine, unless files tell the same, which takes far less."""
        if job.state is State.STARTING and not run.is_prepared():
            return EngineStatus(WorkloadPhase.ABSENT)
        if job.state is State.STARTING and run.is_waiting() and not run.is_started() and run.is_gate_read():
            return EngineStatus(WorkloadPhase.RUNNING)
        return await self._runtime.look(workload)

    def _is_disk_full(self) -> bool:
        """Return whether the disk has no room, or had none and has only been given some back."""
        return is_full(self._data) or self._ballast.was_given_up_for(self._data)


def _phase(phase: WorkloadPhase, *, waiting: bool, started: bool) -> WorkloadPhase:
    """Return the phase of a workload of which the engine says `phase`, and whose script has made these marks."""
    if phase is not WorkloadPhase.RUNNING or started:
        return phase
    return WorkloadPhase.AT_GATE if waiting else WorkloadPhase.BOOTING


def all_damage(seen: Observation, watch: AttemptWatch | None) -> str | None:
    """Return what the job has done to its log, as the files show it or as it was seen while the job ran."""
    if watch is None or watch.usage is None or not has_ended(seen):
        return seen.log_damage
    watch.usage.guard.look()
    return seen.log_damage or watch.usage.guard.damage


def usage_of(run: RunDirectory, watch: AttemptWatch | None, *, started: bool) -> Usage:
    """Return what the job uses, as the files show it and as it was measured while the job ran."""
    size, written = run.log_growth()
    moments = [moment for moment in ((written, run.started_at()) if started else ()) if moment is not None]
    followed = None if watch is None else watch.usage
    return Usage(
        size,
        max(moments, default=None),
        workspace_bytes=None if followed is None else followed.workspace_bytes,
        first_output=None if followed is None else followed.first_output,
    )
