"""`ci backup`, `ci restore`, `ci adopt` and `ci migrate-database`: commands about an installation as a whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option
from ci_cli.options.parameters import DATABASE, FilePath, command

if TYPE_CHECKING:
    from ci_common.configuration.database_address import DatabaseAddress
    from ci_controller.ownership import Adoption


@command()
@click.argument("target", type=FilePath())
@click.option(
    "--with-key-ring",
    is_flag=True,
    help="Copy the keys of the secrets, too, so that the backup alone shows them to everyone who has it.",
)
@json_option
def backup(target: Path, with_key_ring: bool, as_json: bool) -> int:
    """Copy database, uploads and logs while jobs run.

    TARGET is a directory that must not exist yet. The backup is a copy of the installation that CI_DB_PATH and
    CI_DATA_DIR name, as for `ci serve`. Until it is complete, it is named TARGET.incomplete. The exit status is also 70
    if files of a job were changed.
    """
    from ci_cli.console import Progress, say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots import backup as root
    from ci_client.errors import EX_SOFTWARE
    from ci_common.parsing.text import shown_size
    from ci_common.settings import Settings

    async def command(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        settings = Settings.from_env()
        with Progress() as progress:
            manifest = await root.backup(settings, target.absolute(), progress.show, with_key_ring=with_key_ring)
        if as_json:
            echo_json(manifest)
        say(
            f"{target}: {manifest['jobs']} jobs of {settings.database}, {manifest['files']} files, "
            f"{shown_size(manifest['bytes'])}"
        )
        if manifest["secrets"]:
            ring = "with its key ring: keep it closed" if manifest["key_ring"] else f"without {settings.keyring_path}"
            say(f"{manifest['secrets']} secrets are in it as ciphertext, {ring}")
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
@click.option(
    "--keep-keys",
    is_flag=True,
    help="Keep API keys valid. By default all are revoked, since some may have been revoked since the backup.",
)
@json_option
def restore(source: Path, keep_queue: bool, keep_keys: bool, as_json: bool) -> int:
    """Make an installation from a backup.

    CI_DB_PATH and CI_DATA_DIR name its place, as for `ci serve`; existing files are not replaced. It gets a new id, so
    it never touches containers of the original. Jobs that had not completed end as errored, with the reason `restored`:
    their outcome since the backup is unknown, and they are not run again automatically. All API keys are revoked: the
    backup does not know which of them were, since.
    """
    from ci_cli.console import Progress, say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots import backup as root
    from ci_common.settings import Settings

    async def command(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        with Progress() as progress:
            done: dict[str, Any] = await root.restore(
                Settings.from_env(), source.absolute(), progress.show, keep_queue=keep_queue, keep_keys=keep_keys
            )
        if as_json:
            echo_json(done)
        say(f"restored {done['jobs']} jobs, as of {done['created']}, to {done['database']} and {done['data_path']}")
        if done["ended"]:
            say(f"{done['ended']} of them had not completed and are now errored: ci list --conclusion errored")
        if done["queued"]:
            say(f"{done['queued']} wait in the queue until a controller runs")
        if done["revoked_keys"]:
            say(
                f"{done['revoked_keys']} API keys are revoked now: make new ones, the first with ci keys create --admin"
            )
        return 0

    return run_command(command)


@command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--as-copy",
    is_flag=True,
    help="Treat an installation that was moved here as a copy: the original is still in use, on another machine "
    "or in a container.",
)
@json_option
def adopt(yes: bool, as_copy: bool, as_json: bool) -> int:
    """Take a database for another data directory than its own.

    CI_DB_PATH names the database and CI_DATA_DIR the directory, as for `ci serve`, which refuses to start where they
    do not belong together. The database of a copy gets a new id, so it never touches containers of the original; jobs
    that had not completed end as errored, with the reason `restored`. An installation that was moved keeps its jobs.
    """
    import sys

    from ci_cli.console import Progress, is_terminal, say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots import backup as root
    from ci_client.exits import EX_INTERRUPTED
    from ci_common.settings import Settings

    settings, plans = Settings.from_env(), list["Adoption"]()

    async def plan(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        plans.append(await root.plan_adoption(settings, as_copy=as_copy))
        return 0

    async def carry_out(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        with Progress() as progress:
            done = await root.adopt(settings, plans[0], progress.show, as_copy=as_copy)
        if as_json:
            echo_json(done)
        say(f"adopted {done['database']} for {done['data_path']}: {done['ended']} jobs ended, {done['kept']} go on")
        return 0

    status = run_command(plan)
    if status:
        return status
    if plans[0].mismatch is None and not as_copy:
        say(f"nothing to adopt: the database {plans[0].database} belongs to {settings.data_path}")
        return 0
    for line in _described(plans[0]):
        say(line)
    if not yes:  # Asked outside of the event loop, where Ctrl-C ends the question.
        if not is_terminal(sys.stdin):
            raise click.UsageError("nothing was changed; standard input is no terminal to confirm on: give --yes")
        if not click.confirm("Adopt it?", err=True):
            say("nothing was changed")
            return EX_INTERRUPTED
    return run_command(carry_out)


def _described(plan: "Adoption") -> list[str]:
    pair = f"the database {plan.database} belongs to the data directory {plan.data.path}"
    problem = pair if plan.mismatch is None else plan.mismatch.problem
    if plan.keeps_jobs:
        return [
            problem,
            f"adopting it keeps the installation as it is: its {plan.unfinished} unfinished jobs go on",
            "if the original is still in use, on another machine or in a container, use --as-copy",
        ]
    containers = f"docker ps -a --filter label=ci-server.installation={plan.installation.id}"
    return [
        problem,
        f"adopting it ends its {plan.unfinished} unfinished jobs as errored (restored), and gives it a new id",
        f"containers of those jobs are left alone: {containers}",
    ]


@command("migrate-database")
@click.argument("source", metavar="FROM", type=DATABASE)
@click.argument("target", metavar="TO", type=DATABASE)
@json_option
def migrate_database(source: "DatabaseAddress", target: "DatabaseAddress", as_json: bool) -> int:
    """Move an installation to another database, whole.

    FROM and TO are each the path of a SQLite database or the URL of a PostgreSQL one. Arguments can be read by other
    users, so a URL has no password: write env:NAME for one in the environment variable NAME, or set PGPASSWORD or
    PGPASSFILE. Stop servers and controllers before. TO has to be empty. Files stay where they are, and jobs go on
    with TO; nothing starts with FROM any more, which can be deleted.
    """
    from ci_cli.console import Progress, say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots import backup as root

    async def command(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        with Progress() as progress:
            done = await root.migrate(source, target, progress.show)
        if as_json:
            echo_json(done)
        rows = done["rows"]
        say(f"moved {rows['jobs']} jobs and {sum(rows.values()) - rows['jobs']} other rows; both sides have the same")
        name = "CI_DB_PATH" if target.path is not None else "CI_DATABASE_URL, without CI_DB_PATH,"
        say(f"start servers and controllers with {name} for {target}, and CI_DATA_DIR={done['data_path'] or '…'}")
        return 0

    return run_command(command)
