"""Lists and removes what a server keeps, such as caches."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ci_cli.options.common import echo_json, with_connection
from ci_client.formatting import count_of

if TYPE_CHECKING:
    from ci_cli.connection import Connection


class Table(Protocol):
    """Returns things as a table with a head that fits into `width`."""

    def __call__(self, things: Sequence[dict[str, Any]], /, *, width: int | None) -> str: ...


def list_things(
    server: str | None,
    find: "Callable[[Connection], Awaitable[list[dict[str, Any]]]]",
    table: Table,
    *,
    as_json: bool,
    names: str,
) -> int:
    """List what a server keeps: as JSON, as a table, or in a sentence that says that there are no `names`."""
    from ci_cli.console import say, show, window_width

    async def work(connection: "Connection") -> int:
        found = await find(connection)
        if as_json:
            echo_json(found)
        elif found:
            show(table(found, width=window_width()))
        else:
            say(f"there are no {names}")
        return 0

    return with_connection(server, work)


def remove_things(
    server: str | None,
    choose: "Callable[[Connection], Awaitable[list[str]]]",
    remove: "Callable[[Connection, str], Awaitable[None]]",
    *,
    as_json: bool,
    name: str,
) -> int:
    """Remove what `choose` returns, and say how many of them, each a `name`, are gone."""
    from ci_cli.console import say

    async def work(connection: "Connection") -> int:
        chosen = await choose(connection)
        for identity in chosen:
            await remove(connection, identity)
        if as_json:
            echo_json({"removed": chosen})
        else:
            say(f"removed {count_of(len(chosen), name)}")
        return 0

    return with_connection(server, work)
