"""`ci cache list` and `ci cache remove`: commands about caches."""

from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import json_option, server_option
from ci_cli.options.parameters import Group, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection


@click.group("cache", cls=Group)
def cache() -> None:
    """List and remove caches."""


@command("list")
@server_option
@json_option
def list_command(server: str | None, as_json: bool) -> int:
    """List the caches, the one that was used last first."""
    from ci_cli.listing import list_things
    from ci_cli.tables.kept import cache_table

    return list_things(
        server, lambda connection: connection.client.caches(), cache_table, as_json=as_json, names="caches"
    )


@command("remove")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@server_option
@json_option
def remove_command(keys: tuple[str, ...], server: str | None, as_json: bool) -> int:
    """Remove caches, so that no further job gets them.

    KEY is a key, and stands for all caches that have it, or the id of one.
    """
    from ci_cli.listing import remove_things

    async def choose(connection: "Connection") -> list[str]:
        return _having(keys, await connection.client.caches())

    return remove_things(
        server,
        choose,
        lambda connection, identity: connection.client.remove_cache(identity),
        as_json=as_json,
        name="cache",
    )


def _having(keys: tuple[str, ...], caches: list[dict[str, Any]]) -> list[str]:
    """Return the ids of the caches with these keys or ids. Raises click.UsageError for one that none has."""
    from ci_client.escapes import visible

    found: dict[str, None] = {}
    for key in keys:
        having = [cache["id"] for cache in caches if key in (cache["key"], cache["id"])]
        if not having:
            raise click.UsageError(f"no cache has the key {visible(repr(key))}")
        found |= dict.fromkeys(having)
    return list(found)


for _each in (list_command, remove_command):
    cache.add_command(_each)
