"""`ci secrets`. A value comes from standard input or a prompt; no argument has one, and no answer shows one."""

import sys
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import Group, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection

_LONGEST = 64 * 1024


@click.group("secrets", cls=Group)
def secrets() -> None:
    """Set, list, rotate and remove secrets of jobs."""


_project = click.option("--project", metavar="NAME", help="A secret of this project; by default of none.")
_unmasked = click.option(
    "--unmasked", is_flag=True, help="Take a value that cannot be masked, such as a short one. Logs show it."
)


@command("set")
@click.argument("name")
@_project
@click.option(
    "--reference",
    metavar="WHERE",
    help="Where the value is kept, in place of a value: env:NAME, file:/path or vault:MOUNT/PATH#FIELD.",
)
@_unmasked
@server_option
@json_option
def set_command(
    name: str, project: str | None, reference: str | None, unmasked: bool, server: str | None, as_json: bool
) -> int:
    """Set a secret to what is on standard input; a terminal asks for it.

    The end of the line behind a value of one line does not belong to it.
    """
    fields = {"reference": reference} if reference else {"value": _given(name)}
    return _set(server, name, project, {**fields, "masked": not unmasked}, as_json=as_json)


@command("rotate")
@click.argument("name")
@_project
@_unmasked
@server_option
@json_option
def rotate_command(name: str, project: str | None, unmasked: bool, server: str | None, as_json: bool) -> int:
    """Give a secret that is there another value, from standard input or a prompt. Jobs that run keep theirs."""
    fields = {"value": _given(name), "masked": not unmasked, "existing": True}
    return _set(server, name, project, fields, as_json=as_json)


def _set(server: str | None, name: str, project: str | None, fields: dict[str, Any], *, as_json: bool) -> int:
    async def work(connection: "Connection") -> int:
        from ci_cli.console import say

        made = await connection.client.set_secret(name, project=project, **fields)
        if as_json:
            echo_json(made)
        else:
            say(f"set {_named(made['name'], made['project'])}; its value is not shown again")
        return 0

    return with_connection(server, work)


def _given(name: str) -> str:
    """Return the value that the user gives. Raises click.UsageError."""
    if sys.stdin is None:
        raise click.UsageError("give the value on standard input")
    if sys.stdin.isatty():
        value: str = click.prompt(name, hide_input=True, err=True, confirmation_prompt=True)
        return value
    try:
        value = sys.stdin.buffer.read(_LONGEST + 2).decode()
    except UnicodeDecodeError:
        raise click.UsageError("the value is not text in UTF-8; encode it, such as by base64") from None
    line = value.removesuffix("\n").removesuffix("\r")
    return value if "\n" in line else line


@command("list")
@server_option
@json_option
def list_command(server: str | None, as_json: bool) -> int:
    """List the secrets, without their values."""
    from ci_cli.listing import list_things
    from ci_cli.tables.secrets import secret_table

    return list_things(
        server, lambda connection: connection.client.secrets(), secret_table, as_json=as_json, names="secrets"
    )


@command("remove")
@click.argument("name")
@_project
@server_option
@json_option
def remove_command(name: str, project: str | None, server: str | None, as_json: bool) -> int:
    """Remove a secret, so that no further job gets it."""

    async def work(connection: "Connection") -> int:
        from ci_cli.console import say

        await connection.client.remove_secret(name, project=project)
        if as_json:
            echo_json({"removed": name, "project": project})
        else:
            say(f"removed {_named(name, project)}")
        return 0

    return with_connection(server, work)


@command("rotate-keys")
@json_option
def rotate_keys_command(as_json: bool) -> int:
    """Encrypt all secrets again with a new key.

    The key before stays in the key ring, for jobs that run; earlier ones are removed. This works where the server runs,
    on its database (CI_DB_PATH or CI_DATABASE_URL) and its key ring. The server and its jobs go on.
    """
    import asyncio

    from ci_cli.console import say
    from ci_cli.roots.secrets import rotate_keys
    from ci_common.settings import Settings

    done = asyncio.run(rotate_keys(Settings.from_env()))
    if as_json:
        echo_json({"key": done.key_id, "resealed": done.resealed, "removed_keys": done.removed})
    else:
        say(f"sealed {done.resealed} secrets with the new key {done.key_id}, and removed {done.removed} earlier keys")
        say(f"keep a copy of {done.path} apart from the backups, which do not have it")
    return 0


def _named(name: str, project: str | None) -> str:
    from ci_client.escapes import visible

    return f"{visible(name)} of {'no project' if project is None else f'the project {visible(project)}'}"


for _each in (set_command, rotate_command, list_command, remove_command, rotate_keys_command):
    secrets.add_command(_each)
