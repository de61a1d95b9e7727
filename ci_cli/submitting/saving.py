"""Saves what is kept of a job, and says what is not kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci_cli.connection import Connection

_SHOWN = 5


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
