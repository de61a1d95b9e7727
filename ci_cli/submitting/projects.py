"""Projects as jobs: read, sent, explained, or sent again after every change."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json
from ci_cli.options.specs import spec_of
from ci_cli.submitting.making import Target, follow_job, make_job

if TYPE_CHECKING:
    from ci_cli.connection import Connection
    from ci_client.packing.archive import Archive
    from ci_client.packing.scan import Project


def submit_project(ctx: click.Context, path: Path, target: Target, options: dict[str, Any]) -> int:
    from ci_cli.console import say
    from ci_client.packing.scan import Project
    from ci_common.parsing.text import shown_size

    spec = spec_of(options, ctx.meta["tail"])
    with _read(path) as project:
        for note in project.notes:
            say(note)
        if isinstance(project, Project):
            files = f"{project.files} file" + ("" if project.files == 1 else "s")
            say(f"submitting {files}, {shown_size(project.bytes)}")
        else:
            say(f"submitting {path}, {shown_size(project.size)}")
        made = _sent_early(project, spec, target) if isinstance(project, Project) else None
        if made is not None:
            return follow_job(*made, target, directory=path)

        async def make(connection: "Connection") -> str:
            wanted = (
                spec if target.only_failed is None else await _selecting(connection, path, target.only_failed, spec)
            )
            return await _upload(connection, project, wanted)

        return make_job(make, target, directory=path)


def watch_project(ctx: click.Context, path: Path, target: "Target", options: dict[str, Any]) -> int:
    from ci_cli.connection import connected
    from ci_cli.console import say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.watching import Rerunner
    from ci_client.packing.tree import is_directory

    if not is_directory(path):
        raise click.UsageError("--watch is for directories")
    spec = spec_of(options, ctx.meta["tail"])

    async def work(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        async with connected(target.server, carries_jobs=True) as connection:
            say(f"server {connection.where}")
            runs = Rerunner(
                connection,
                lambda project: _upload(connection, project, spec),
                as_json=target.as_json,
                raw=target.raw,
                verbose=target.verbose,
            )
            return await runs.run(path)

    return run_command(work)


def explain_project(path: Path, *, as_json: bool) -> int:
    from ci_cli.console import Progress, say, show
    from ci_cli.interrupts import deferred_interrupt
    from ci_client.packing.explain import explain
    from ci_client.packing.tree import is_directory
    from ci_common.parsing.text import shown_size

    if not is_directory(path):
        raise click.UsageError("--explain is for directories; a zip file is sent as it is")
    with Progress() as progress, deferred_interrupt() as check_interrupt:

        def report(files: int, count: int) -> None:
            check_interrupt()
            progress.show(f"reading: {files} files, {shown_size(count)}")

        explanation = explain(path, report)
    if as_json:
        echo_json(explanation.document())
        return 0
    for note in explanation.notes:
        say(note)
    for line in explanation.lines():
        show(line)
    return 0


async def _selecting(connection: "Connection", path: Path, job: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec with the variables by which only the tests run that failed in that job. Raises CannotSelect."""
    from ci_cli.console import say
    from ci_client.packing.tree import is_directory
    from ci_client.rerunning import selection

    job_id = await connection.resolve(job)
    tests = await connection.client.tests(job_id, status="failed")
    reports = await connection.client.reports(job_id)
    has_files = is_directory(path)
    variables = selection(tests, reports["files"], exists=lambda name: not has_files or (path / name).exists())
    env: dict[str, str] = spec.get("env", {})
    for name, value in variables.items():
        say(f"only what failed in job {job_id}, {len(tests)} of its tests, by {name}")
        variables[name] = f"{env[name]} {value}" if name in env else value
    return spec | {"env": env | variables}


@contextmanager
def _read(path: Path) -> "Iterator[Archive | Project]":
    """Yield a directory as it is now, or an archive. Raises PackingError."""
    from ci_cli.console import Progress
    from ci_cli.interrupts import deferred_interrupt
    from ci_client.packing.scan import scan_directory
    from ci_client.packing.tree import is_directory
    from ci_common.parsing.text import shown_size

    with ExitStack() as stack:
        with Progress() as progress, deferred_interrupt() as check_interrupt:

            def show(files: int, count: int) -> None:
                check_interrupt()
                progress.show(f"reading: {files} files, {shown_size(count)}")

            project: Archive | Project
            if is_directory(path):
                project = scan_directory(path, show, to_send=True)
            else:
                from ci_client.packing.archive import open_project

                project = stack.enter_context(open_project(path))
        yield project


def _sent_early(project: "Project", spec: dict[str, Any], target: Target) -> tuple[str, str] | None:
    """Send a project, and return its job's id and the server's URL; None if that takes more than is usual."""
    from ci_cli.choosing import find_server
    from ci_cli.console import say
    from ci_cli.interrupts import interruptible
    from ci_client.submitting.early import submit_early
    from ci_common.parsing.text import shown_size

    url = None if target.only_failed else find_server(target.server)
    if url is None:
        return None
    with interruptible():
        job_id = submit_early(project, spec, url, on_large=_import_client)
    if job_id is None:
        return None
    say(f"server {url}")
    if project.sent_bytes:
        say(f"sent {shown_size(project.sent_bytes)}")
    return job_id, url


def _import_client() -> None:
    import asyncio

    import anyio.lowlevel

    import ci_cli.connection  # noqa: F401

    asyncio.run(anyio.lowlevel.checkpoint())  # anyio imports its part for asyncio when it is first used.


async def _upload(connection: "Connection", project: "Archive | Project", spec: dict[str, Any]) -> str:
    from asyncio import CancelledError

    from ci_cli.console import Progress, say
    from ci_client.errors import SubmissionUncertain
    from ci_client.packing.archive import Archive
    from ci_common.parsing.text import shown_size

    sent = False

    def show(count: int, total: int) -> None:
        nonlocal sent
        sent = count >= total
        progress.show(f"sending: {shown_size(count)} of {shown_size(total)}", count / total if total else None)

    try:
        with Progress() as progress:
            job_id = await connection.client.submit(project, spec=spec or None, progress=show)
        if not isinstance(project, Archive) and project.sent_bytes:
            say(f"sent {shown_size(project.sent_bytes)}")
        return job_id
    except CancelledError as exc:
        if not sent:
            raise
        raise SubmissionUncertain.interrupted() from exc
