"""`ci artifacts` and `ci download`: commands about the files that are kept of a job."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import JOB, FilePath, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection

_attempt_option = click.option(
    "--attempt", metavar="N", type=click.IntRange(1), help="Those of this attempt, from 1; by default of the last."
)


@command()
@click.argument("job", type=JOB)
@_attempt_option
@server_option
@json_option
def artifacts(job: str, attempt: int | None, server: str | None, as_json: bool) -> int:
    """List the files that are kept of a job.

    JOB is a job's id, or the beginning of one. What was to be kept and is not is named, with the reason.
    """
    from ci_cli.console import say, show, window_width
    from ci_cli.submitting.saving import say_left_out
    from ci_cli.tables.jobs import artifact_table

    async def work(connection: "Connection") -> int:
        found = await connection.client.artifacts(await connection.resolve(job), attempt=attempt)
        if as_json:
            echo_json(found)
            return 0
        if found["artifacts"]:
            show(artifact_table(found["artifacts"], width=window_width()))
        else:
            say("no artifacts are kept of this job")
        say_left_out(found)
        return 0

    return with_connection(server, work)


@command()
@click.argument("job", type=JOB)
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option(
    "--output", "-o", metavar="DIR", type=FilePath(), help="Where to save them. By default a new directory here."
)
@click.option("--force", is_flag=True, help="Replace files that are there with another content.")
@_attempt_option
@server_option
@json_option
def download(
    job: str,
    patterns: tuple[str, ...],
    output: Path | None,
    force: bool,
    attempt: int | None,
    server: str | None,
    as_json: bool,
) -> int:
    """Save the files that are kept of a job.

    JOB is a job's id, or the beginning of one. PATTERN is a path, or has *, ? and ** for any number of folders; without
    one, all files are saved. Each file is saved as a whole or not at all, and what is there already is not sent again,
    so an interrupted download goes on where it was.
    """
    from ci_cli.submitting.saving import save

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        place = output or Path(f"ci-artifacts-{job_id}")
        saved = await save(connection, job_id, place, patterns=patterns, attempt=attempt, replace=force)
        if as_json:
            echo_json(saved)
        return 0

    return with_connection(server, work)
