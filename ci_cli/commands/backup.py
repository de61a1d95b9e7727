"""`ci backup` and `ci restore`."""

from pathlib import Path
from typing import Any

import click

from ci_cli.commands.options import FilePath, command, echo_json, json_option


@command()
@click.argument("target", type=FilePath())
@json_option
def backup(target: Path, as_json: bool) -> int:
    """Copy database, uploads and logs, while everything runs.

    TARGET is a directory that is not there yet. What is copied is the installation that CI_DB_PATH and CI_DATA_DIR
    name, as for `ci serve`. Until it is whole, the backup is named TARGET.incomplete. The exit status is 70, too, where
    files of a job are not what they were.
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
        return _tell_damaged(manifest["damaged"], EX_SOFTWARE)

    return run_command(command)


def _tell_damaged(damaged: list[str], status: int) -> int:
    from ci_cli.console import say

    if not damaged:
        return 0
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    say(f"the backup is whole, but files in the data directory are not what they were: job {damaged[0]}{more}")
    return status


@command()
@click.argument("source", type=FilePath(exists=True, file_okay=False))
@click.option(
    "--keep-queue",
    is_flag=True,
    help="Leave jobs that waited in the queue there. By default they end as errored, since they may have run since.",
)
@json_option
def restore(source: Path, keep_queue: bool, as_json: bool) -> int:
    """Make an installation of a backup.

    CI_DB_PATH and CI_DATA_DIR name its place, as for `ci serve`; nothing that is there is replaced. It has an id of
    its own, so it never touches containers of the original. Jobs that had not completed end as errored, with the
    reason `restored`: nobody knows what became of them since, and none is run again by itself.
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
            say(f"{done['ended']} of them had not completed and are errored now: ci list --conclusion errored")
        if done["queued"]:
            say(f"{done['queued']} wait in the queue, and run when a controller does")
        return 0

    return run_command(command)
