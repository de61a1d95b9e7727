"""What the files of an attempt and the engine's word of its workload come to, and what room the disk has."""

from ci_common.run_directory.layout import RunDirectory
from ci_controller.policy.limits import Usage
from ci_controller.policy.verdicts import Sight
from ci_controller.runtime.protocol import Phase, Workload


def sight_of(workload: Workload, *, waiting: bool, started: bool) -> Sight:
    """Return the sight of a workload whose script has made the marks `waiting` and `started`, or has not."""
    match workload.phase:
        case Phase.ABSENT:
            return Sight.ABSENT
        case Phase.CREATED:
            return Sight.CREATED
        case Phase.EXITED:
            return Sight.EXITED
        case Phase.RUNNING if started:
            return Sight.RUNNING
        case Phase.RUNNING if waiting:
            return Sight.AT_GATE
        case Phase.RUNNING:
            return Sight.BOOTING


def usage_of(run: RunDirectory, *, started: bool) -> Usage:
    """Return what the run directory tells of what the job uses."""
    size, written = run.log_growth()
    moments = (written, run.started_at()) if started else ()
    return Usage(size, max((moment for moment in moments if moment is not None), default=None))
