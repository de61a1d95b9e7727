"""Makes a job on a server, and by default follows it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_cli.options.common import echo_json

if TYPE_CHECKING:
    from ci_cli.agents.following import AgentForm
    from ci_cli.connection import Connection
    from ci_cli.interrupts import Interrupts


@dataclass(frozen=True, slots=True)
class Target:
    """Where to submit a job, and how to follow it."""

    server: str | None
    as_json: bool
    raw: bool
    verbose: bool = False
    detach: bool = False
    verify: bool = False
    agent: "AgentForm | None" = None
    only_failed: str | None = None
    """The job of which only the tests that failed are to run."""
    output: Path | None = None
    """Where to save the artifacts."""


async def _save_artifacts(connection: "Connection", job_id: str, output: Path) -> None:
    """Save what a job has left, if it has ended."""
    from ci_cli.submitting.saving import save, say_left_out

    job = await connection.client.get_job(job_id)
    if job["status"] == "completed":
        await save(connection, job_id, output, replace=True)
        say_left_out(job.get("artifact_totals") or {})


def make_job(make: "Callable[[Connection], Awaitable[str]]", target: Target, *, directory: Path | None = None) -> int:
    """Make a job, and follow it as `target` says; return the command's exit status."""
    from ci_cli.connection import connected
    from ci_cli.console import say
    from ci_cli.interrupts import Interrupts, run_command

    async def work(interrupts: Interrupts) -> int:
        outlives = "the job would not run once this command has ended" if target.detach else None
        async with connected(target.server, carries_jobs=True, outlives=outlives) as connection:
            say(f"server {connection.where}")
            job_id = await make(connection)
            if target.detach:
                return _leave(job_id, target)
            return await _follow(connection, interrupts, job_id, target, directory)

    return run_command(work)


def follow_job(job_id: str, url: str, target: Target, *, directory: Path | None = None) -> int:
    """Follow a job that has been made on the server at `url`, as `target` says; return the command's exit status."""
    if target.detach:
        return _leave(job_id, target)
    from ci_cli.connection import connected
    from ci_cli.interrupts import Interrupts, run_command

    async def work(interrupts: Interrupts) -> int:
        async with connected(target.server, url=url) as connection:
            return await _follow(connection, interrupts, job_id, target, directory)

    return run_command(work)


async def _follow(
    connection: "Connection", interrupts: "Interrupts", job_id: str, target: Target, directory: Path | None
) -> int:
    from ci_cli.console import say
    from ci_cli.follow import JobFollower

    if target.agent is not None:
        from ci_cli.agents.following import AgentFollower

        status = await AgentFollower(connection, job_id, target.agent).follow()
        if target.output is not None:
            await _save_artifacts(connection, job_id, target.output)
        return status
    say(f"job {job_id}")
    follower = JobFollower(
        connection, job_id, as_json=target.as_json, raw=target.raw, verbose=target.verbose, directory=directory
    )
    status = await follower.follow(interrupts, from_beginning=True)
    if target.output is not None:
        await _save_artifacts(connection, job_id, target.output)
    if not target.verify or status:
        return status
    from ci_cli.verifying import verify

    return await verify(connection, interrupts, job_id, as_json=target.as_json, raw=target.raw)


def _leave(job_id: str, target: Target) -> int:
    """Say how to follow a job that is left to the server."""
    from ci_cli.choosing import command_line, server_option
    from ci_cli.console import say, show

    say(f"job {job_id}")
    say(f"follow it with: {command_line('wait', server_option(target.server), job_id, '--all')}")
    if target.as_json:
        echo_json({"job_id": job_id})
    else:
        show(job_id)
    return 0
