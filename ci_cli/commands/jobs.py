"""`ci wait`, `ci logs`, `ci list`, `ci status`, `ci cancel`: commands about existing jobs."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import click

from ci_cli.commands.options import (
    command,
    echo_json,
    events_option,
    json_option,
    raw_option,
    server_option,
    with_connection,
)

if TYPE_CHECKING:
    from ci_cli.connection import Connection


@command()
@click.argument("job")
@click.option("--all", "from_beginning", is_flag=True, help="Show the whole log instead of only new output.")
@raw_option
@server_option
@events_option
def wait(job: str, from_beginning: bool, raw: bool, server: str | None, as_json: bool) -> int:
    """Follow a job to its end, from any terminal.

    JOB is a job's id, or the beginning of one. The exit status is the job's own. After Ctrl-C the job goes on,
    and a message says how to come back to it; a second Ctrl-C cancels the job.
    """
    from ci_cli.connection import connected
    from ci_cli.follow import JobFollower
    from ci_cli.interrupts import Interrupts, run_command

    async def work(interrupts: Interrupts) -> int:
        async with connected(server, carries_jobs=True) as connection:
            follower = JobFollower(connection, await connection.resolve(job), as_json=as_json, raw=raw)
            return await follower.follow(interrupts, from_beginning=from_beginning)

    return run_command(work)


@command()
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Follow the logs of all attempts until the job ends.")
@click.option(
    "--attempt",
    metavar="N",
    type=click.IntRange(1),
    help="The log of this attempt, from 1; by default of the last. With --follow, begin with this one.",
)
@raw_option
@server_option
@events_option
def logs(job: str, follow: bool, attempt: int | None, raw: bool, server: str | None, as_json: bool) -> int:
    """Write a job's log to standard output, byte for byte.

    A terminal gets only its text and colours. JOB is a job's id, or the beginning of one. Without --follow, this is the
    log as it is now. The exit status does not depend on how the job ended.
    """

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        if follow or as_json:
            chunks = _followed(connection, job_id, follow=follow, attempt=attempt, as_json=as_json)
            return await _write(chunks, raw=raw or as_json)
        return await _write(connection.client.log(job_id, attempt=attempt), raw=raw)

    return with_connection(server, work, carries_jobs=follow)


async def _followed(
    connection: "Connection", job_id: str, *, follow: bool, attempt: int | None, as_json: bool
) -> AsyncGenerator[bytes, None]:
    import json
    from contextlib import aclosing

    from ci_client.events import log_bytes_of
    from ci_common.stream import Cursor

    end = None
    if not follow:
        job = await connection.client.get_job(job_id)
        attempt = attempt or job.get("attempt") or 1
        earlier = [record for record in job.get("attempts") or [] if record["attempt"] == attempt]
        end = Cursor(attempt, (*earlier, job)[0].get("log_bytes") or 0)
        if end.offset == 0:
            return
    start = Cursor(attempt or 1, 0)
    async with aclosing(connection.client.stream(job_id, last_id=str(start))) as events:
        async for event in events:
            if as_json and (follow or event["type"] == "log"):
                yield json.dumps(event).encode() + b"\n"
            elif event["type"] == "log":
                yield log_bytes_of(event)
            if end is not None and "id" in event and Cursor.parse(event["id"]) >= end:
                return


async def _write(chunks: AsyncGenerator[bytes, None], *, raw: bool) -> int:
    from contextlib import aclosing

    from ci_cli.console import LogOutput
    from ci_client.errors import EX_BROKEN_PIPE

    output = LogOutput(raw=raw)
    async with aclosing(chunks):
        async for chunk in chunks:
            await output.write(chunk)
            if output.broken:
                return EX_BROKEN_PIPE
    await output.end()
    return 0


@command("list")
@click.option("--status", type=click.Choice(["queued", "running", "completed"]), help="Only jobs with this status.")
@click.option(
    "--conclusion",
    metavar="NAME",
    help="Only jobs with this conclusion: succeeded, failed, cancelled, timed_out, errored.",
)
@click.option("--project", metavar="NAME", help="Only this project's jobs.")
@click.option("--label", metavar="KEY=VALUE", help="Only jobs with this label.")
@click.option("--search", "q", metavar="TEXT", help="Only jobs with this text in their id, project, payload or labels.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="The most jobs to list."
)
@click.option("--pool", is_flag=True, help="List warm containers instead of jobs.")
@server_option
@json_option
def list_command(server: str | None, as_json: bool, limit: int, pool: bool, **filters: str | None) -> int:
    """List jobs, newest first."""
    from ci_cli.console import show
    from ci_cli.tables import job_table, pool_table

    given = {name: value for name, value in filters.items() if value is not None}
    if "label" in given:
        key, equals, value = given["label"].partition("=")
        if not equals:
            raise click.UsageError("--label: write it as KEY=VALUE")
        given["label"] = f"{key}:{value}"

    if pool and given:
        raise click.UsageError("--pool lists containers, to which the other options do not apply")

    async def work(connection: "Connection") -> int:
        if pool:
            state = await connection.client.pool()
            if as_json:
                echo_json(state)
            else:
                show(pool_table(state))
            return 0
        jobs = await connection.client.list_jobs(limit=limit, **given)
        if as_json:
            echo_json(jobs)
        else:
            show(job_table(jobs) if jobs else "no jobs")
        return 0

    return with_connection(server, work)


@command()
@click.argument("job")
@click.option("--timing", is_flag=True, help="Show instead when the job reached each station on its path.")
@server_option
@json_option
def status(job: str, timing: bool, server: str | None, as_json: bool) -> int:
    """Show a job: its state, steps and result.

    JOB is a job's id, or the beginning of one. With --timing and --json, only the part `timing` of the job is shown.
    """
    from ci_cli.console import show
    from ci_cli.tables import job_details, timing_document, timing_table

    async def work(connection: "Connection") -> int:
        record = await connection.client.get_job(await connection.resolve(job))
        if as_json:
            echo_json(timing_document(record) if timing else record)
        else:
            show(timing_table(record) if timing else job_details(record))
        return 0

    return with_connection(server, work)


@command()
@click.argument("job")
@server_option
@json_option
def cancel(job: str, server: str | None, as_json: bool) -> int:
    """Cancel a job.

    JOB is a job's id, or the beginning of one. A running job gets SIGTERM, and SIGKILL if it has not ended
    CI_STOP_GRACE seconds later (by default 10).
    """
    from ci_cli.console import say
    from ci_cli.follow import wait_for_end

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        record: dict[str, Any] = await connection.client.cancel_job(job_id)
        say(f"cancelling job {job_id}")
        if connection.embedded:  # No other controller would stop it.
            await wait_for_end(connection, job_id)
            record = await connection.client.get_job(job_id)
        if as_json:
            echo_json(record)
        return 0

    return with_connection(server, work, carries_jobs=True)
