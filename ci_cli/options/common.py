"""Options that many commands have, of the server and the output, and the connection and the JSON that they ask for."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.parameters import SERVER

if TYPE_CHECKING:
    from ci_cli.connection import Connection
    from ci_cli.interrupts import Interrupts

server_option = click.option(
    "--server",
    metavar="URL",
    type=SERVER,
    help="The server: http(s)://HOST:PORT, unix:///PATH, or a name from `ci config`. By default CI_SERVER_URL, else "
    "what the project or `ci config` names, else this user's `ci serve` on this machine, else one inside this command.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")
events_option = click.option(
    "--json",
    "--jsonl",
    "as_json",
    is_flag=True,
    help="Write the job's events to standard output, one line of JSON each.",
)
detach_option = click.option(
    "--detach", is_flag=True, help="Write the job's id to standard output and end, without following the job."
)


raw_option = click.option(
    "--raw", is_flag=True, help="Write the log to a terminal unchanged, with all its control sequences."
)
verbose_option = click.option(
    "--verbose", "-v", is_flag=True, help="Show the output of all steps on a terminal, instead of one line for each."
)


def _choose_colour(ctx: click.Context, param: click.Parameter, value: str | None) -> None:  # noqa: ARG001  # click's
    if value is not None:
        from ci_cli.console import choose_colour

        choose_colour(value)


color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    expose_value=False,
    callback=_choose_colour,
    help="Whether output is in colour. By default on terminals, unless NO_COLOR or FORCE_COLOR says otherwise.",
)
image_option = click.option("--image", metavar="IMAGE", help="The image to run in, such as python:3.12-slim.")


def echo_json(value: Any) -> None:
    """Write a value to standard output as JSON."""
    from ci_cli.console import show_raw
    from ci_client.escapes import visible_json

    show_raw(visible_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def with_connection(
    server: str | None, work: "Callable[[Connection], Awaitable[int]]", *, carries_jobs: bool = False
) -> int:
    """Run `work` with a connection to the server, and return its exit status; see `connected`."""
    from ci_cli.connection import connected
    from ci_cli.interrupts import run_command

    async def command(interrupts: "Interrupts") -> int:  # noqa: ARG001  # a signal ends the command
        async with connected(server, carries_jobs=carries_jobs) as connection:
            return await work(connection)

    return run_command(command)
