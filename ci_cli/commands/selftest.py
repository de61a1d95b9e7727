"""`ci selftest`."""

from typing import TYPE_CHECKING

import click

from ci_cli.options.common import echo_json, json_option
from ci_cli.options.parameters import DATABASE, command

if TYPE_CHECKING:
    from ci_common.configuration.database_address import DatabaseAddress


@command()
@click.option("--chaos", is_flag=True, help="Kill, pause and lock its parts at random while jobs run.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), metavar="N", help="How long. By default 1.")
@click.option("--seed", type=click.IntRange(0), metavar="S", help="Repeat the schedule of an earlier run.")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "process"]),
    default="auto",
    help="Where the jobs run; auto: docker if an engine answers, else process.",
)
@click.option(
    "--image", metavar="IMAGE", help="The image of the jobs; needs /bin/sh, cat and sleep. By default CI_DEFAULT_IMAGE."
)
@click.option(
    "--database",
    type=DATABASE,
    metavar="URL",
    help="A PostgreSQL database, in which a schema is made and dropped, instead of a file; without a password, or "
    "env:NAME.",
)
@json_option
def selftest(
    chaos: bool,
    minutes: float | None,
    seed: int | None,
    runtime: str,
    image: str | None,
    database: "DatabaseAddress | None",
    as_json: bool,
) -> int:
    """Prove on this machine that nothing is lost.

    Starts its own server and controllers on a scratch database, submits jobs whose output is known byte for byte, and
    ends with a table of broken promises. It touches only what it has started. Without --chaos it only runs a few jobs.
    The exit status is 0 if no promise was broken, else 70.
    """
    from ci_cli.console import show
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.roots.selftest import selftest as run_selftest
    from ci_client.errors import EX_SOFTWARE

    if minutes is not None and not chaos:
        raise click.UsageError("--minutes needs --chaos; without it, a self-test only runs a few jobs")
    if database is not None and database.url is None:
        raise click.UsageError("--database needs the URL of a PostgreSQL database; by default it is a file")
    url = database.url if database is not None else None
    seconds = 60.0 * (minutes or 1.0) if chaos else None

    async def command(_: Interrupts) -> int:
        outcome = await run_selftest(seconds=seconds, seed=seed, runtime=runtime, image=image, database=url)
        if as_json:
            echo_json(outcome.to_json())
        else:
            show(outcome.table())
        return EX_SOFTWARE if outcome.violations else 0

    return run_command(command)
