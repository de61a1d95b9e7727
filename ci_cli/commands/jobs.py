"""`ci list`, `ci status`, `ci open`, `ci cancel`: commands about existing jobs."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import (
    color_option,
    echo_json,
    json_option,
    server_option,
    with_connection,
)
from ci_cli.options.parameters import JOB, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection


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
@color_option
@server_option
@json_option
def list_command(server: str | None, as_json: bool, limit: int, pool: bool, **filters: str | None) -> int:
    """List jobs, newest first."""
    from ci_cli.console import show, show_fitting, window_width
    from ci_cli.tables.jobs import job_table
    from ci_cli.tables.kept import pool_table

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
                show(pool_table(state, width=window_width()))
            return 0
        jobs = await connection.client.list_jobs(limit=limit, **given)
        if as_json:
            echo_json(jobs)
        elif not jobs:
            show("no jobs")
        else:
            show_fitting(partial(job_table, jobs))
        return 0

    return with_connection(server, work)


@command()
@click.argument("job", type=JOB)
@click.option("--timing", is_flag=True, help="Show instead when the job reached each station on its path.")
@color_option
@server_option
@json_option
def status(job: str, timing: bool, server: str | None, as_json: bool) -> int:
    """Show a job: its state, steps and result.

    JOB is a job's id, or the beginning of one. With --timing and --json, only the part `timing` of the job is shown.
    """
    from ci_cli.console import show, show_fitting
    from ci_cli.tables.jobs import job_details
    from ci_cli.tables.timing import timing_document, timing_table

    async def work(connection: "Connection") -> int:
        record = await connection.client.get_job(await connection.resolve(job))
        if as_json:
            echo_json(timing_document(record) if timing else record)
        elif timing:
            show(timing_table(record))
        else:
            show_fitting(partial(job_details, record))
        return 0

    return with_connection(server, work)


@command("open")
@click.argument("job", type=JOB)
@click.option("--print", "only_print", is_flag=True, help="Write the URL to standard output, and open nothing.")
@server_option
@json_option
def open_command(job: str, only_print: bool, server: str | None, as_json: bool) -> int:
    """Open a job in the browser.

    JOB is a job's id, or the beginning of one. The URL is written to standard output, too.
    """
    import os
    import sys

    from ci_cli.console import is_terminal, show
    from ci_client.errors import NoServer

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        if connection.embedded or not connection.client.server_url.startswith("http"):
            raise NoServer(f"{connection.where} has no URL that a browser opens; `ci status {job_id}` shows the job")
        url = f"{connection.client.server_url.rstrip('/')}/jobs/{job_id}"
        if as_json:
            echo_json({"job_id": job_id, "url": url})
        else:
            show(url)
        has_display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
        if not only_print and not as_json and has_display and is_terminal(sys.stdout):
            click.launch(url)
        return 0

    return with_connection(server, work)


@command()
@click.argument("job", type=JOB)
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
