"""`ci cache list` and `ci cache remove`: commands about caches."""

from typing import TYPE_CHECKING, Any

import click

from ci_cli.options import Command, command, echo_json, json_option, server_option, with_connection

if TYPE_CHECKING:
    from ci_cli.connection import Connection


class _Group(click.Group):
    command_class = Command


@click.group("cache", cls=_Group)
def cache() -> None:
    """List and remove caches."""


@command("list")
@server_option
@json_option
def list_command(server: str | None, as_json: bool) -> int:
    """List the caches, the one that was used last first."""
    from ci_cli.console import say, show, window_width
    from ci_cli.tables.jobs import cache_table

    async def work(connection: "Connection") -> int:
        caches = await connection.client.caches()
        if as_json:
            echo_json(caches)
        elif caches:
            show(cache_table(caches, width=window_width()))
        else:
            say("there are no caches")
        return 0

    return with_connection(server, work)


@command("remove")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@server_option
@json_option
def remove_command(keys: tuple[str, ...], server: str | None, as_json: bool) -> int:
    """Remove caches, so that no further job gets them.

    KEY is a key, and stands for all caches that have it, or the id of one.
    """
    from ci_cli.console import say

    async def work(connection: "Connection") -> int:
        found = _having(keys, await connection.client.caches())
        for identity in found:
            await connection.client.remove_cache(identity)
        if as_json:
            echo_json({"removed": found})
        else:
            say(f"removed {'1 cache' if len(found) == 1 else f'{len(found)} caches'}")
        return 0

    return with_connection(server, work)


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
