"""`ci run`, `ci submit`, `ci exec`, `ci retry`: commands that make a new job and, by default, follow it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.agents import agent_form, agent_options
from ci_cli.options.common import (
    color_option,
    detach_option,
    events_option,
    image_option,
    raw_option,
    server_option,
    verbose_option,
)
from ci_cli.options.parameters import JOB, FilePath, TailCommand, command
from ci_cli.options.specs import change_options, changes_of, spec_of, spec_options
from ci_cli.submitting.making import Target, make_job
from ci_cli.submitting.projects import explain_project, submit_project, watch_project

if TYPE_CHECKING:
    from ci_cli.connection import Connection

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
    type=JOB,
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
        return explain_project(path, as_json=as_json)
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
    return (watch_project if watch else submit_project)(ctx, path, target, options)


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
    return submit_project(ctx, path, Target(server, as_json=as_json, raw=raw, verbose=verbose, detach=detach), options)


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
@click.argument("job", type=JOB)
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
