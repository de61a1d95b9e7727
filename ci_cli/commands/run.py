"""`ci run`, `ci submit`, `ci exec`, `ci retry`: commands that make a new job and, by default, follow it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options import (
    FilePath,
    TailCommand,
    agent_form,
    agent_options,
    change_options,
    changes_of,
    color_option,
    command,
    detach_option,
    echo_json,
    events_option,
    image_option,
    raw_option,
    server_option,
    spec_of,
    spec_options,
    verbose_option,
)

if TYPE_CHECKING:
    from ci_cli.agents.following import AgentForm
    from ci_cli.connection import Connection
    from ci_client.packing.archive import Archive
    from ci_client.packing.scan import Project

_PATH = click.argument("path", default=".", metavar="[PATH]", type=FilePath())


@command(cls=TailCommand)
@_PATH
@image_option
@spec_options
@raw_option
@verbose_option
@color_option
@server_option
@events_option
@agent_options
@click.option(
    "--explain", is_flag=True, help="Show what would be sent, and which rules leave out the rest. Send nothing."
)
@click.option(
    "--watch", is_flag=True, help="Run again after every change to the directory, and cancel a run that is not done."
)
@click.option(
    "--verify",
    is_flag=True,
    help="Afterwards, run the setup once more and compare: the exit status is 1 if it makes something else.",
)
@click.option(
    "--only-failed",
    metavar="JOB",
    help="Run only the tests that failed in this job, on the files as they are now: those of pytest, Go and Maven.",
)
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=FilePath(),
    help="Save the job's artifacts here once it has ended, in the place of earlier ones.",
)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    path: Path,
    server: str | None,
    as_json: bool,
    raw: bool,
    verbose: bool,
    explain: bool,
    watch: bool,
    verify: bool,
    only_failed: str | None,
    output: Path | None,
    **options: Any,
) -> int:
    """Run a project's tests and follow them to their end.

    PATH is a directory, by default this one, or a zip file. The directory is sent as it is, without the files that
    .gitignore and .ciignore name. The project's ci.yaml says what to run; a Python project needs none. If COMMAND is
    given, it runs instead.

    The exit status is the job's own. After Ctrl-C the job goes on, and a message says how to come back to it; a second
    Ctrl-C cancels the job.
    """
    agent = agent_form(options, as_json=as_json)
    if explain:
        return _explain(path, as_json=as_json)
    if agent is not None and (watch or verify):
        raise click.UsageError("--agent cannot be used together with --watch or --verify")
    if watch and verify:
        raise click.UsageError("--watch and --verify cannot be used together")
    if watch and only_failed:
        raise click.UsageError("--watch and --only-failed cannot be used together")
    if watch and output:
        raise click.UsageError("--watch and --output cannot be used together")
    target = Target(
        server,
        as_json=as_json,
        raw=raw,
        verbose=verbose,
        verify=verify,
        agent=agent,
        output=output,
        only_failed=only_failed,
    )
    return (_watch_project if watch else _submit_project)(ctx, path, target, options)


def _watch_project(ctx: click.Context, path: Path, target: "Target", options: dict[str, Any]) -> int:
    from ci_cli.connection import connected
    from ci_cli.console import say
    from ci_cli.interrupts import Interrupts, run_command
    from ci_cli.watching import Rerunner
    from ci_client.packing.archive import is_directory

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


def _explain(path: Path, *, as_json: bool) -> int:
    from ci_cli.console import Progress, say, show
    from ci_cli.interrupts import deferred_interrupt
    from ci_client.packing.archive import is_directory
    from ci_client.packing.explain import explain
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


@command(cls=TailCommand)
@_PATH
@image_option
@spec_options
@detach_option
@raw_option
@verbose_option
@color_option
@server_option
@events_option
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    path: Path,
    server: str | None,
    as_json: bool,
    raw: bool,
    verbose: bool,
    detach: bool,
    **options: Any,
) -> int:
    """Submit a project and follow it, or leave it to a server.

    Like `ci run`, but --detach leaves the job to a server (see `ci serve`) and ends at once.
    """
    return _submit_project(ctx, path, Target(server, as_json=as_json, raw=raw, verbose=verbose, detach=detach), options)


@command("exec", cls=TailCommand)
@click.argument("image")
@spec_options
@detach_option
@raw_option
@verbose_option
@color_option
@server_option
@events_option
@click.pass_context
def exec_command(
    ctx: click.Context,
    /,
    image: str,
    server: str | None,
    as_json: bool,
    raw: bool,
    verbose: bool,
    detach: bool,
    **options: Any,
) -> int:
    """Run one command in an image, without a project.

    For example: ci exec busybox -- echo hello
    """
    if ctx.meta["tail"] is None:
        raise click.UsageError("give the command after --, as in: ci exec busybox -- echo hello")
    request = {"type": "container", **spec_of(options | {"image": image}, ctx.meta["tail"])}
    return make_job(
        lambda connection: connection.client.create_job(request),
        Target(server, as_json=as_json, raw=raw, verbose=verbose, detach=detach),
    )


@command()
@click.argument("job")
@change_options
@detach_option
@raw_option
@verbose_option
@color_option
@server_option
@events_option
def retry(job: str, server: str | None, as_json: bool, raw: bool, verbose: bool, detach: bool, **options: Any) -> int:
    """Run a completed job again, as a new job.

    JOB is a job's id, or the beginning of one. The new job has the same upload and the same options, but for those that
    are given here.
    """
    changes = changes_of(options)

    async def submit_again(connection: "Connection") -> str:
        return await connection.client.retry_job(await connection.resolve(job), changes)

    return make_job(submit_again, Target(server, as_json=as_json, raw=raw, verbose=verbose, detach=detach))


@dataclass(frozen=True, slots=True)
class Target:
    """Where to submit a job, and how to follow it."""

    server: str | None
    as_json: bool
    raw: bool
    verbose: bool = False
    detach: bool = False
    verify: bool = False
    agent: "AgentForm | None" = None
    only_failed: str | None = None
    """The job of which only the tests that failed are to run."""
    output: Path | None = None
    """Where to save the artifacts."""


def _submit_project(ctx: click.Context, path: Path, target: Target, options: dict[str, Any]) -> int:
    from ci_cli.console import say
    from ci_client.packing.archive import Archive
    from ci_common.parsing.text import shown_size

    spec = spec_of(options, ctx.meta["tail"])
    with _read(path) as project:
        for note in project.notes:
            say(note)
        if isinstance(project, Archive):
            say(f"submitting {path}, {shown_size(project.size)}")
        else:
            files = f"{project.files} file" + ("" if project.files == 1 else "s")
            say(f"submitting {files}, {shown_size(project.bytes)}")

        async def make(connection: "Connection") -> str:
            wanted = (
                spec if target.only_failed is None else await _selecting(connection, path, target.only_failed, spec)
            )
            return await _upload(connection, project, wanted)

        return make_job(make, target, directory=path)


async def _selecting(connection: "Connection", path: Path, job: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec with the variables by which only the tests run that failed in that job. Raises CannotSelect."""
    from ci_cli.console import say
    from ci_client.packing.archive import is_directory
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
    from ci_client.packing.archive import is_directory, open_project
    from ci_client.packing.scan import scan_directory
    from ci_common.parsing.text import shown_size

    with ExitStack() as stack:
        with Progress() as progress, deferred_interrupt() as check_interrupt:

            def show(files: int, count: int) -> None:
                check_interrupt()
                progress.show(f"reading: {files} files, {shown_size(count)}")

            project = scan_directory(path, show) if is_directory(path) else stack.enter_context(open_project(path))
        yield project


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
        raise SubmissionUncertain(
            f"interrupted before the server sent the job's id: {SubmissionUncertain.WHAT}; look for it with `ci list`"
        ) from exc


async def _save_artifacts(connection: "Connection", job_id: str, output: Path) -> None:
    """Save what a job has left, if it has ended."""
    from ci_cli.commands.artifacts import save, say_left_out

    job = await connection.client.get_job(job_id)
    if job["status"] == "completed":
        await save(connection, job_id, output, replace=True)
        say_left_out(job.get("artifact_totals") or {})


def make_job(make: "Callable[[Connection], Awaitable[str]]", target: Target, *, directory: Path | None = None) -> int:
    from ci_cli.connection import connected
    from ci_cli.console import say, show
    from ci_cli.follow import JobFollower
    from ci_cli.interrupts import Interrupts, run_command

    async def work(interrupts: Interrupts) -> int:
        outlives = "the job would not run once this command has ended" if target.detach else None
        async with connected(target.server, carries_jobs=True, outlives=outlives) as connection:
            say(f"server {connection.where}")
            job_id = await make(connection)
            if target.agent is not None:
                from ci_cli.agents.following import AgentFollower

                status = await AgentFollower(connection, job_id, target.agent).follow()
                if target.output is not None:
                    await _save_artifacts(connection, job_id, target.output)
                return status
            say(f"job {job_id}")
            if not target.detach:
                follower = JobFollower(
                    connection,
                    job_id,
                    as_json=target.as_json,
                    raw=target.raw,
                    verbose=target.verbose,
                    directory=directory,
                )
                status = await follower.follow(interrupts, from_beginning=True)
                if target.output is not None:
                    await _save_artifacts(connection, job_id, target.output)
                if not target.verify or status:
                    return status
                from ci_cli.verifying import verify

                return await verify(connection, interrupts, job_id, as_json=target.as_json, raw=target.raw)
            say(f"follow it with: {connection.advice('wait', job_id, '--all')}")
            if target.as_json:
                echo_json({"job_id": job_id})
            else:
                show(job_id)
            return 0

    return run_command(work)
