"""`ci tests`: the tests of a job."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import color_option, echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import JOB, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection

_SHOWN = 1000


@command()
@click.argument("job", type=JOB)
@click.option("--failed", is_flag=True, help="Only tests that failed, each with its message and its place.")
@click.option("--flaky", is_flag=True, help="Only tests that both passed and failed on the same content.")
@click.option("--slow", is_flag=True, help="The tests that took longest, with what they took before.")
@click.option("--search", "q", metavar="TEXT", help="Only tests with this text in their suite, class, name or file.")
@click.option(
    "--history", is_flag=True, help="The results of each test that is shown in the project's jobs; at most 20 tests."
)
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), help="The most tests to show; by default 1000, with --slow 20."
)
@click.option(
    "--coverage",
    is_flag=True,
    help="Which lines that have changed in this directory the tests of the job do not cover.",
)
@click.option(
    "--base",
    metavar="COMMIT",
    help="With --coverage: changed since the branch left COMMIT; by default the main branch.",
)
@color_option
@server_option
@json_option
def tests(
    job: str,
    failed: bool,
    flaky: bool,
    slow: bool,
    q: str | None,
    history: bool,
    limit: int | None,
    coverage: bool,
    base: str | None,
    server: str | None,
    as_json: bool,
) -> int:
    """Show the tests of a job, above all those that failed.

    JOB is a job's id, or the beginning of one. With --failed, --flaky, --slow or --search, only these tests are shown.
    With --coverage, the lines are shown that have changed in this directory and were not run, as far as git knows them.
    With --json, the tests are written, all of them if no option chooses some.
    """
    if coverage:
        if failed or flaky or slow or q or history or limit:
            raise click.UsageError("--coverage shows lines, not tests: only --base goes with it")
        return with_connection(server, lambda connection: _show_coverage(connection, job, base, as_json=as_json))
    if base is not None:
        raise click.UsageError("--base goes with --coverage")
    from ci_cli.console import show
    from ci_cli.tables.tests import (
        failure_blocks,
        flaky_table,
        history_table,
        other_table,
        slow_table,
        summary_lines,
    )

    filters = _filters(failed=failed, flaky=flaky, slow=slow, q=q)
    most = limit or (20 if slow or history else None if as_json else _SHOWN)
    is_plain = not (failed or flaky or slow or q)
    asked = filters if as_json or not is_plain else {"status": "failed"}

    async def work(connection: "Connection") -> int:
        job_id = await connection.resolve(job)
        found = await connection.client.tests(job_id, limit=most, **asked)
        if history:
            found = [await connection.client.test_history(job_id, test["id"]) for test in found[:20]]
        if as_json:
            echo_json(found)
            return 0
        if history:
            _show_table(history_table, found)
            return 0
        if is_plain or failed:
            record = await connection.client.get_job(job_id)
            reports = await connection.client.reports(job_id)
            for text in (*failure_blocks(found), *summary_lines(record, reports)):
                show(text)
            return 0
        table = slow_table if slow else flaky_table if flaky else other_table
        _show_table(table, found)
        return 0

    return with_connection(server, work)


async def _show_coverage(connection: "Connection", job: str, base: str | None, *, as_json: bool) -> int:
    import asyncio
    from pathlib import Path

    from ci_cli.console import show
    from ci_cli.tables.coverage import changed_coverage
    from ci_client.changed_lines import CannotCompare, changed_lines, uncovered

    project = Path.cwd()
    change = await asyncio.to_thread(changed_lines, project, base)
    job_id = await connection.resolve(job)
    measured = (await connection.client.reports(job_id))["coverage"]
    if measured is None:
        raise CannotCompare(f"job {job_id} has no report of coverage; docs/tests.md says how a job leaves one")
    record = await connection.client.record(job_id, files=True)
    found = await asyncio.to_thread(uncovered, change, project, measured, record.get("files"))
    if as_json:
        echo_json(found.document())
    else:
        for line in changed_coverage(found):
            show(line)
    return 0


def _show_table(table: Callable[..., str], found: list[dict[str, Any]]) -> None:
    from ci_cli.console import show, show_fitting

    if found:
        show_fitting(partial(table, found))
    else:
        show("no test fits")


def _filters(*, failed: bool, flaky: bool, slow: bool, q: str | None) -> dict[str, str]:
    """Return the parameters of the request."""
    chosen: dict[str, Any] = {
        "status": "failed" if failed else None,
        "flaky": "true" if flaky else None,
        "sort": "time" if slow else None,
        "q": q,
    }
    return {name: value for name, value in chosen.items() if value}
