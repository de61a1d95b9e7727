"""`ci backup` and `ci restore`."""

from pathlib import Path
from typing import Any

import click

from ci_cli.commands.options import FilePath, command, echo_json, json_option


@command()
@click.argument("target", type=FilePath())
@json_option
def backup(target: Path, as_json: bool) -> int:
    """Copy database, uploads and logs while jobs run.

    TARGET is a directory that must not exist yet. The backup is a copy of the installation that CI_DB_PATH and
    CI_DATA_DIR name, as for `ci serve`. Until it is complete, it is named TARGET.incomplete. The exit status is also 70
    if files of a job were changed.
    """
    from ci_cli.console import Progress, say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots import backup as root
    from ci_client.errors import EX_SOFTWARE
    from ci_client.formatting import size
    from ci_common.settings import Settings

    async def command(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        settings, progress = Settings.from_env(), Progress()
        try:
            manifest = await root.backup(settings, target.absolute(), progress.show)
        finally:
            progress.done()
        if as_json:
            echo_json(manifest)
        say(
            f"{target}: {manifest['jobs']} jobs of {settings.db_path.absolute()}, {manifest['files']} files, "
            f"{size(manifest['bytes'])}"
        )
        return _report_damaged(manifest["damaged"], EX_SOFTWARE)

    return run_command(command)


def _report_damaged(damaged: list[str], status: int) -> int:
    from ci_cli.console import say

    if not damaged:
        return 0
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    say(f"the backup is complete, but files in the data directory were changed: job {damaged[0]}{more}")
    return status


@command()
@click.argument("source", type=FilePath(exists=True, file_okay=False))
@click.option(
    "--keep-queue",
    is_flag=True,
    help="Keep queued jobs in the queue. By default they end as errored, since they may have run since the backup.",
)
@json_option
def restore(source: Path, keep_queue: bool, as_json: bool) -> int:
    """Make an installation from a backup.

    CI_DB_PATH and CI_DATA_DIR name its place, as for `ci serve`; existing files are not replaced. It gets a new id, so
    it never touches containers of the original. Jobs that had not completed end as errored, with the reason `restored`:
    their outcome since the backup is unknown, and they are not run again automatically.
    """
    from ci_cli.console import Progress, say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots import backup as root
    from ci_common.settings import Settings

    async def command(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        settings, progress = Settings.from_env(), Progress()
        try:
            done: dict[str, Any] = await root.restore(settings, source.absolute(), progress.show, keep_queue=keep_queue)
        finally:
            progress.done()
        if as_json:
            echo_json(done)
        say(f"restored {done['jobs']} jobs, as of {done['created']}, to {done['database']} and {done['data_path']}")
        if done["ended"]:
            say(f"{done['ended']} of them had not completed and are now errored: ci list --conclusion errored")
        if done["queued"]:
            say(f"{done['queued']} wait in the queue until a controller runs")
        return 0

    return run_command(command)
