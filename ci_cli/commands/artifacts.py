"""`ci artifacts` and `ci download`: commands about the files that are kept of a job."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options import (
    FilePath,
    command,
    echo_json,
    json_option,
    server_option,
    with_connection,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci_cli.connection import Connection

_SHOWN = 5
_attempt_option = click.option(
    "--attempt", metavar="N", type=click.IntRange(1), help="Those of this attempt, from 1; by default of the last."
)


@command()
@click.argument("job")
@_attempt_option
@server_option
@json_option
def artifacts(job: str, attempt: int | None, server: str | None, as_json: bool) -> int:
    """List the files that are kept of a job.

    JOB is a job's id, or the beginning of one. What was to be kept and is not is named, with the reason.
    """
    from ci_cli.console import say, show
    from ci_cli.tables.jobs import artifact_table

    async def work(connection: "Connection") -> int:
        found = await connection.client.artifacts(await connection.resolve(job), attempt=attempt)
        if as_json:
            echo_json(found)
            return 0
        if found["artifacts"]:
            show(artifact_table(found["artifacts"]))
        else:
            say("no artifacts are kept of this job")
        say_left_out(found)
        return 0

    return with_connection(server, work)


@command()
@click.argument("job")
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

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        place = output or Path(f"ci-artifacts-{job_id}")
        saved = await save(connection, job_id, place, patterns=patterns, attempt=attempt, replace=force)
        if as_json:
            echo_json(saved)
        return 0

    return with_connection(server, work)


async def save(
    connection: "Connection",
    job_id: str,
    output: Path,
    *,
    patterns: "Sequence[str]" = (),
    attempt: int | None = None,
    replace: bool = False,
) -> list[dict[str, Any]]:
    """Save artifacts and say so; return them for `--json`. Raises what `CiClient.download` does, click.UsageError."""
    from ci_cli.console import Progress, say
    from ci_common.parsing.text import shown_size

    with Progress() as progress:

        def show(there: int, total: int) -> None:
            progress.show(f"downloading: {shown_size(there)} of {shown_size(total)}")

        try:
            saved = await connection.client.download(
                job_id, output, patterns=patterns, attempt=attempt, replace=replace, progress=show
            )
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc
    if saved:
        files = "1 file" if len(saved) == 1 else f"{len(saved)} files"
        known = sum(one.was_there for one in saved)
        beside = f"; {known} of them had been saved before" if known else ""
        say(f"saved {files}, {shown_size(sum(one.size for one in saved))}, in {output}{beside}")
    else:
        say("no artifacts are kept of this job, so nothing is saved")
    return [{"path": one.path, "file": str(one.file), "size": one.size} for one in saved]


def say_left_out(totals: dict[str, Any]) -> None:
    """Say which files were to be kept, and are not."""
    from ci_cli.console import say

    number, first = totals.get("left_out_number") or 0, (totals.get("left_out") or [])[:_SHOWN]
    for one in first:
        say(f"not kept: {one['path']}: {one['reason']}")
    if number > len(first):
        say(f"not kept: {number - len(first)} more")
