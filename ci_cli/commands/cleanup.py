"""`ci delete`, `ci cleanup`: commands that delete completed jobs and their files."""

from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import JOB, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection

_LOOK_SECONDS = 0.05
_STUCK_SECONDS = 10.0
"""How long the command waits without progress for files to be removed."""


@command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=JOB)
@server_option
@json_option
def delete(jobs: tuple[str, ...], server: str | None, as_json: bool) -> int:
    """Delete jobs, with their logs and uploads.

    JOB is a job's id, or the beginning of one. A job that has not completed is cancelled, and deleted once it has
    ended.
    """
    from ci_cli.console import say
    from ci_cli.follow import wait_for_end

    async def work(connection: "Connection") -> int:
        job_ids = list(dict.fromkeys([await connection.resolve(job) for job in jobs]))
        for job_id in job_ids:
            while await connection.client.delete_job(job_id) is not None:
                say(f"cancelling job {job_id}")
                await wait_for_end(connection, job_id)
        await _files_gone(connection)
        _report(job_ids, as_json=as_json, dry_run=False)
        return 0

    return with_connection(server, work, carries_jobs=True)


@command()
@click.option("--older-than", metavar="DURATION", help="Only jobs that ended longer ago than this, such as 7d or 12h.")
@click.option("--keep", metavar="N", type=click.IntRange(0), help="All but the newest N.")
@click.option("--project", metavar="NAME", help="Only this project's jobs.")
@click.option(
    "--conclusion", metavar="NAME", multiple=True,
    help="Only jobs with this conclusion: succeeded, failed, cancelled, timed_out, errored. May be repeated.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only list these jobs.")
@server_option
@json_option
def cleanup(server: str | None, as_json: bool, conclusion: tuple[str, ...], dry_run: bool, **given: Any) -> int:
    """Delete old completed jobs, or too many, with their files.

    A job is deleted if all conditions apply to it. --keep counts only the jobs that --project and --conclusion select.
    The retention settings say what is deleted automatically.
    """
    conditions = {name: value for name, value in given.items() if value is not None}
    if not conditions.keys() & {"older_than", "keep"}:
        raise click.UsageError("say which jobs: give --older-than DURATION, --keep N, or both")
    if conclusion:
        conditions["conclusion"] = list(conclusion)

    async def work(connection: "Connection") -> int:
        job_ids = await connection.client.clean_up(dry_run=dry_run, **conditions)
        if not dry_run:
            await _files_gone(connection)
        _report(job_ids, as_json=as_json, dry_run=dry_run)
        return 0

    return with_connection(server, work, carries_jobs=not dry_run)


def _report(job_ids: list[str], *, as_json: bool, dry_run: bool) -> None:
    from ci_cli.console import say, show

    if as_json:
        echo_json({"deleted": 0 if dry_run else len(job_ids), "job_ids": job_ids})
        return
    if dry_run:
        for job_id in job_ids:
            show(job_id)
    jobs = "1 job" if len(job_ids) == 1 else f"{len(job_ids)} jobs"
    say(f"{jobs} would be deleted" if dry_run else f"deleted {jobs}")


async def _files_gone(connection: "Connection") -> None:
    """Let an embedded controller remove the files before it ends with this command, as long as it makes progress."""
    from asyncio import sleep
    from time import monotonic

    from ci_cli.console import Progress, say

    if not connection.embedded:
        return
    least, moved = None, monotonic()
    with Progress() as progress:
        while pending := await connection.client.pending_removals():
            if least is None or pending < least:
                least, moved = pending, monotonic()
            elif monotonic() - moved > _STUCK_SECONDS:
                say(f"files of {pending} deleted jobs are left; the next command that runs jobs will remove them")
                break
            progress.show(f"removing the files of {pending} jobs")
            await sleep(_LOOK_SECONDS)
