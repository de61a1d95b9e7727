"""Tickets: whose a container is that was made before its job. One file each, in the pool's directory.

    <workload>.waiting               it waits for a job
    <workload>.<job_id>.<attempt>    that attempt of that job has it, from this moment on

A ticket is made once, when its container has come to its gate, and is then only renamed or removed. The file system
does either as a whole or not at all, and lets only one of several callers succeed, however late a call is carried out.
So no container is ever given to two attempts, and one that is to be removed is given to none. Once the run directory
`pool/<workload>` has been moved to the attempt's place, the ticket is all that says which container the attempt runs
in; it stays until that container has been removed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ci_common.jobs import is_job_id

_WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Ticket:
    """One ticket as it was found."""

    workload: str
    holder: tuple[str, int] | None
    """The job and the attempt that have the container; None while it waits."""


def offer(pool: Path, workload: str) -> None:
    """Make the ticket of a container that waits at its gate. Raises OSError."""
    os.close(os.open(pool / f"{workload}.{_WAITING}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def claim(pool: Path, workload: str, job_id: str, attempt: int) -> bool:
    """Give a waiting container to an attempt, in one step; return False if it does not wait any more."""
    try:
        os.rename(pool / f"{workload}.{_WAITING}", pool / _claimed(workload, job_id, attempt))
    except FileNotFoundError:
        return False
    return True


def withdraw(pool: Path, workload: str) -> bool:
    """Remove the ticket of a waiting container, so that no attempt gets it; return False if it does not wait."""
    try:
        os.unlink(pool / f"{workload}.{_WAITING}")
    except FileNotFoundError:
        return False
    return True


def drop(pool: Path, workload: str, job_id: str, attempt: int) -> None:
    """Remove the ticket of an attempt, whose container is gone. Does nothing if there is none."""
    (pool / _claimed(workload, job_id, attempt)).unlink(missing_ok=True)


def read(pool: Path) -> list[Ticket]:
    """Return all tickets."""
    try:
        names = os.listdir(pool)
    except FileNotFoundError:
        return []
    return [ticket for name in names if (ticket := _parsed(name)) is not None]


def holders(pool: Path) -> dict[str, tuple[str, int]]:
    """Return the attempts that run in containers which had waited for a job, by container.

    One whose run directory is still in the pool has not been taken into use, and is not returned.
    """
    return {
        ticket.workload: ticket.holder
        for ticket in read(pool)
        if ticket.holder is not None and not os.path.lexists(pool / ticket.workload)
    }


def _claimed(workload: str, job_id: str, attempt: int) -> str:
    return f"{workload}.{job_id}.{attempt}"


def _parsed(name: str) -> Ticket | None:
    workload, _, rest = name.partition(".")
    if not is_job_id(workload):
        return None
    if rest == _WAITING:
        return Ticket(workload, None)
    job_id, _, attempt = rest.partition(".")
    return Ticket(workload, (job_id, int(attempt))) if is_job_id(job_id) and attempt.isdecimal() else None
