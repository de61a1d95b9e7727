"""`ci wait` and `ci logs`: commands that show what existing jobs write."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.agents import agent_form, agent_options
from ci_cli.options.common import (
    color_option,
    events_option,
    raw_option,
    server_option,
    verbose_option,
    with_connection,
)
from ci_cli.options.parameters import JOB, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection
    from ci_cli.display.log_view import LogView


@command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=JOB)
@click.option("--all", "from_beginning", is_flag=True, help="Show the whole log instead of only new output.")
@raw_option
@verbose_option
@color_option
@server_option
@events_option
@agent_options
def wait(
    jobs: tuple[str, ...],
    from_beginning: bool,
    raw: bool,
    verbose: bool,
    server: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Follow a job to its end, or wait for several.

    JOB is a job's id, or the beginning of one. The exit status is the job's own. After Ctrl-C the job goes on,
    and a message says how to come back to it; a second Ctrl-C cancels the job.

    Of several jobs only the ends are told, and their logs are not shown. The exit status is that of the first one that
    did not succeed, in the order in which they are named.
    """
    from ci_cli.connection import connected
    from ci_cli.follow import JobFollower
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.waiting import wait_for_all

    if len(jobs) > 1 and from_beginning:
        raise click.UsageError("--all shows the log of one job; name one, or leave it out")

    agent = agent_form(options, as_json=as_json)
    if agent is not None and len(jobs) > 1:
        raise click.UsageError("--agent tells of one job; name one")

    async def work(interrupts: Interrupts) -> int:
        async with connected(server, carries_jobs=True) as connection:
            job_ids = [await connection.resolve(job) for job in jobs]
            if agent is not None:
                from ci_cli.agents.following import AgentFollower

                return await AgentFollower(connection, job_ids[0], agent).follow()
            if len(job_ids) > 1:
                return await wait_for_all(connection, job_ids, as_json=as_json)
            follower = JobFollower(connection, job_ids[0], as_json=as_json, raw=raw, verbose=verbose)
            return await follower.follow(interrupts, from_beginning=from_beginning)

    return run_command(work)


@command()
@click.argument("job", type=JOB)
@click.option("--follow", "-f", is_flag=True, help="Follow the logs of all attempts until the job ends.")
@click.option(
    "--attempt",
    metavar="N",
    type=click.IntRange(1),
    help="The log of this attempt, from 1; by default of the last. With --follow, begin with this one.",
)
@click.option("--service", metavar="NAME", help="The log of this service of the job, as far as it is kept.")
@click.option("--step", metavar="NAME", help="Only the output of this step, by its name or its number.")
@click.option("--since", metavar="TIME", help="Only what was written since then: 10m ago, or at 2026-11-29T08:30.")
@click.option("--tail", metavar="N", type=click.IntRange(0), help="Only the last N lines, of those that are asked for.")
@click.option("--grep", metavar="PATTERN", help="Only lines in which this regular expression is found.")
@click.option("--timestamps", is_flag=True, help="Begin each line with the time at which it was written.")
@raw_option
@color_option
@server_option
@events_option
def logs(
    job: str,
    follow: bool,
    attempt: int | None,
    service: str | None,
    raw: bool,
    server: str | None,
    as_json: bool,
    **lines: Any,
) -> int:
    """Write a job's log to standard output, byte for byte.

    A terminal gets only its text and colours. JOB is a job's id, or the beginning of one. Without --follow, this is the
    log as it is now. The exit status does not depend on how the job ended.
    """
    if service is not None and (follow or as_json):
        raise click.UsageError("--service shows a log as it is now; leave out --follow and --json")
    given = [name for name, value in lines.items() if value is not None and value is not False]
    if given and (as_json or service is not None):
        other = "--json" if as_json else "--service"
        raise click.UsageError(f"{other} shows all of a log; leave out --{given[0]}")
    if follow and lines["step"] is not None:
        raise click.UsageError("--step shows a step as it is now; leave out --follow")

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        if given:
            from ci_cli.display.log_view import shown_lines

            view = _view(attempt=attempt, follow=follow, **lines)
            return await _write(shown_lines(connection.client, job_id, view), raw=raw)
        if follow or as_json:
            chunks = _followed(connection, job_id, follow=follow, attempt=attempt, as_json=as_json)
            return await _write(chunks, raw=raw or as_json)
        return await _write(connection.client.log(job_id, attempt=attempt, service=service), raw=raw)

    if given:
        _view(attempt=attempt, follow=follow, **lines)  # Wrong usage is told before a server is looked for.
    return with_connection(server, work, carries_jobs=follow)


def _view(*, since: str | None, grep: str | None, **others: Any) -> "LogView":
    from re import compile as compiled
    from re import error as PatternError  # noqa: N812

    from ci_cli.display.log_view import LogView, parse_since

    try:
        pattern = None if grep is None else compiled(grep)
    except PatternError as exc:
        raise click.UsageError(f"--grep {grep}: it is not a regular expression: {exc}") from exc
    try:
        return LogView(since=None if since is None else parse_since(since), pattern=pattern, **others)
    except ValueError as exc:
        raise click.UsageError(f"--since: {exc}") from exc


async def _followed(
    connection: "Connection", job_id: str, *, follow: bool, attempt: int | None, as_json: bool
) -> AsyncGenerator[bytes, None]:
    import json
    from contextlib import aclosing

    from ci_client.events import log_bytes_of
    from ci_common.wire.stream import Cursor

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
