"""`ci audit`: who did what, what was refused, and whether the chain of its entries holds."""

import json
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import command

if TYPE_CHECKING:
    from ci_cli.connection import Connection

EX_BROKEN = 1
_SHOWN = 50


@command()
@click.option("--actor", metavar="NAME", help="Only what this identity or user has done, or was refused.")
@click.option("--action", metavar="NAME", help="Only this action, such as set_secret.")
@click.option("--target", metavar="PATH", help="Only what was about this, such as /jobs/ID or /projects/NAME.")
@click.option("--project", metavar="NAME", help="Only of this project.")
@click.option("--outcome", type=click.Choice(["done", "refused"]), help="Only what was done, or only what was refused.")
@click.option("--since", metavar="TIME", help="Only from this time on, such as 2026-01-31T12:00:00Z.")
@click.option("--before", metavar="TIME", help="Only before this time.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help=f"At most so many; by default {_SHOWN}.")
@click.option("--after", metavar="NUMBER", type=click.IntRange(0), help="Only those with higher numbers, oldest first.")
@click.option("--verify", is_flag=True, help="Check all entries, and write the mark of the last one.")
@click.option("--mark", metavar="MARK", help="With --verify: one that was noted, which the audit has to have.")
@click.option(
    "--jsonl", "as_lines", is_flag=True, help="Write each entry as a line of JSON, oldest first; all, without --limit."
)
@server_option
@json_option
def audit(
    limit: int | None,
    after: int | None,
    verify: bool,
    mark: str | None,
    as_lines: bool,
    server: str | None,
    as_json: bool,
    **filters: str | None,
) -> int:
    """Show who did what, and what was refused, the newest first.

    This needs a key with the scope audit:read. With --verify, the entries are checked here and by the server. Keep the
    mark that it writes somewhere else, and give it to a later --verify.
    """
    query = {name: value for name, value in filters.items() if value is not None}
    if verify and (query or limit or after is not None or as_lines):
        raise click.UsageError("--verify checks all entries: it takes no filter")
    if mark is not None and not verify:
        raise click.UsageError("--mark is for --verify")

    async def work(connection: "Connection") -> int:
        if verify:
            return await _verify(connection, _checked(mark), as_json=as_json)
        if as_lines:
            return await _export(connection, {**query, "after": str(after or 0)}, limit)
        if after is not None:
            query["after"] = str(after)
        return await _list(connection, query, limit or _SHOWN, as_json=as_json)

    return with_connection(server, work)


def _checked(mark: str | None) -> str | None:
    from ci_common.sharing.audit import Mark

    try:
        return None if mark is None else str(Mark.parse(mark))
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--mark") from None


async def _list(connection: "Connection", query: dict[str, str], limit: int, *, as_json: bool) -> int:
    from ci_cli.console import say, show, window_width
    from ci_cli.tables.audit import audit_table

    found: list[dict[str, Any]] = []
    async for page in connection.client.audit(**query, limit=str(min(limit, 1000))):
        found += page
        if len(found) >= limit:
            break
    found = found[:limit]
    if as_json:
        echo_json(found)
    elif found:
        show(audit_table(found, width=window_width()))
    else:
        say("there are no such entries")
    return 0


async def _export(connection: "Connection", query: dict[str, str], limit: int | None) -> int:
    from ci_cli.console import show_raw
    from ci_client.escapes import visible_json

    left = limit
    async for page in connection.client.audit(**query):
        entries = page if left is None else page[:left]
        show_raw("".join(visible_json(json.dumps(each, ensure_ascii=False)) + "\n" for each in entries))
        left = None if left is None else left - len(entries)
        if left == 0:
            break
    return 0


async def _verify(connection: "Connection", mark: str | None, *, as_json: bool) -> int:
    from ci_cli.console import say, show
    from ci_client.audit import verified_here

    found = await verified_here(connection.client, mark)
    if as_json:
        echo_json(found)
    elif found["broken"] is not None:
        say(f"entry {found['broken']['number']} does not fit: {found['broken']['reason']}", problem=True)
        say(f"the last one that fits is {found['last']}")
    else:
        show(found["last"])
        removed = int(found["removed"].partition(":")[0])
        before = f"; those up to {removed} were removed since they were old" if removed else ""
        say(f"all {found['entries']} entries fit{before}. Keep the mark above somewhere else")
        if mark is not None and int(mark.partition(":")[0]) < removed:
            say("the given mark is of an entry that was removed, so it could not be compared")
    return EX_BROKEN if found["broken"] is not None else 0
