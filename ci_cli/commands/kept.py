"""`ci env` and `ci cache`: commands about what is kept for later jobs, prepared environments and caches."""

from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import Group, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection


@click.group("env", cls=Group)
def env() -> None:
    """List, show, verify and remove prepared environments."""


@command("list")
@server_option
@json_option
def list_command(server: str | None, as_json: bool) -> int:
    """List the prepared environments, the one that was used last first."""
    from ci_cli.listing import list_things
    from ci_cli.tables.kept import environment_table

    return list_things(
        server,
        lambda connection: connection.client.environments(),
        environment_table,
        as_json=as_json,
        names="prepared environments",
    )


@command("show")
@click.argument("key")
@server_option
@json_option
def show_command(key: str, server: str | None, as_json: bool) -> int:
    """Show a prepared environment.

    KEY is its key, or the beginning of it.
    """
    from ci_cli.console import show, window_width
    from ci_cli.tables.kept import environment_details

    async def work(connection: "Connection") -> int:
        (environment,) = await _resolved(connection, (key,))
        if as_json:
            echo_json(environment)
        else:
            show(environment_details(environment, width=window_width()))
        return 0

    return with_connection(server, work)


@command("verify")
@click.argument("key")
@server_option
@click.option("--json", "as_json", is_flag=True, help="Write the result to standard output as JSON.")
def verify_command(key: str, server: str | None, as_json: bool) -> int:
    """Run a setup once more, and compare what it makes.

    KEY is the key of an environment, or the beginning of it. The setup runs as a job, from the same image and inputs;
    what it makes is not kept. The exit status is 1 if it differs from the environment: then the setup depends on
    something else, such as the clock or the network.
    """
    from ci_cli.connection import connected
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.verifying import verify, verify_quietly

    async def work(interrupts: Interrupts) -> int:
        async with connected(server, carries_jobs=True) as connection:
            (environment,) = await _resolved(connection, (key,))
            if not as_json:
                return await verify(connection, interrupts, environment["job_id"])
            result, status = await verify_quietly(connection, environment["job_id"])
            if result is not None:
                echo_json(result)
            return status

    return run_command(work)


@command("remove")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@server_option
@json_option
def remove_command(keys: tuple[str, ...], server: str | None, as_json: bool) -> int:
    """Remove prepared environments: the next job with the setup runs it again.

    KEY is the key of one, or the beginning of it.
    """
    from ci_cli.listing import remove_things

    async def choose(connection: "Connection") -> list[str]:
        return [environment["key"] for environment in await _resolved(connection, keys)]

    return remove_things(
        server,
        choose,
        lambda connection, key: connection.client.remove_environment(key),
        as_json=as_json,
        name="environment",
    )


async def _resolved(connection: "Connection", keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the environment that each key begins. Raises click.UsageError for none and for several."""
    from ci_client.escapes import visible

    environments = await connection.client.environments()
    found = {}
    for key in keys:
        alike = [environment for environment in environments if environment["key"].startswith(key)]
        if len(alike) != 1 or not key:
            what = "no environment has" if not alike else f"{len(alike)} environments have"
            raise click.UsageError(f"{what} a key that begins with {visible(repr(key))}")
        found[alike[0]["key"]] = alike[0]
    return list(found.values())


for _each in (list_command, show_command, verify_command, remove_command):
    env.add_command(_each)


@click.group("cache", cls=Group)
def cache() -> None:
    """List and remove caches."""


@command("list")
@server_option
@json_option
def list_caches_command(server: str | None, as_json: bool) -> int:
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
def remove_caches_command(keys: tuple[str, ...], server: str | None, as_json: bool) -> int:
    """Remove caches, so that no further job gets them.

    KEY is a key, and stands for all caches that have it, or the id of one.
    """
    from ci_cli.listing import remove_things

    async def choose(connection: "Connection") -> list[str]:
        return _caches_having(keys, await connection.client.caches())

    return remove_things(
        server,
        choose,
        lambda connection, identity: connection.client.remove_cache(identity),
        as_json=as_json,
        name="cache",
    )


def _caches_having(keys: tuple[str, ...], caches: list[dict[str, Any]]) -> list[str]:
    """Return the ids of the caches with these keys or ids. Raises click.UsageError for one that none has."""
    from ci_client.escapes import visible

    found: dict[str, None] = {}
    for key in keys:
        having = [cache["id"] for cache in caches if key in (cache["key"], cache["id"])]
        if not having:
            raise click.UsageError(f"no cache has the key {visible(repr(key))}")
        found |= dict.fromkeys(having)
    return list(found)


for _each in (list_caches_command, remove_caches_command):
    cache.add_command(_each)
