"""`ci run`, `ci submit`, `ci exec`, `ci retry`: commands that make a new job and, by default, follow it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.commands.options import (
    FilePath,
    TailCommand,
    command,
    detach_option,
    echo_json,
    events_option,
    image_option,
    raw_option,
    server_option,
    spec_of,
    spec_options,
)

if TYPE_CHECKING:
    from ci_cli.connection import Connection
    from ci_client.packing.archive import Archive

_PATH = click.argument("path", default=".", metavar="[PATH]", type=FilePath())


@command(cls=TailCommand)
@_PATH
@image_option
@spec_options
@raw_option
@server_option
@events_option
@click.pass_context
def run(ctx: click.Context, /, path: Path, server: str | None, as_json: bool, raw: bool, **options: Any) -> int:
    """Run a project's tests and follow them to their end.

    PATH is a directory, by default this one, or a zip file. The directory is sent as it is, without the files that
    .gitignore and .ciignore name. The project's ci.yaml says what to run; a Python project needs none. If COMMAND is
    given, it runs instead.

    The exit status is the job's own. After Ctrl-C the job goes on, and a message says how to come back to it; a second
    Ctrl-C cancels the job.
    """
    return _submit_project(ctx, path, Target(server, as_json=as_json, raw=raw), options)


@command(cls=TailCommand)
@_PATH
@image_option
@spec_options
@detach_option
@raw_option
@server_option
@events_option
@click.pass_context
def submit(
    ctx: click.Context, /, path: Path, server: str | None, as_json: bool, raw: bool, detach: bool, **options: Any
) -> int:
    """Submit a project and follow it, or leave it to a server.

    Like `ci run`, but --detach leaves the job to a server (see `ci serve`) and ends at once.
    """
    return _submit_project(ctx, path, Target(server, as_json=as_json, raw=raw, detach=detach), options)


@command("exec", cls=TailCommand)
@click.argument("image")
@spec_options
@detach_option
@raw_option
@server_option
@events_option
@click.pass_context
def exec_command(
    ctx: click.Context, /, image: str, server: str | None, as_json: bool, raw: bool, detach: bool, **options: Any
) -> int:
    """Run one command in an image, without a project.

    For example: ci exec busybox -- echo hello
    """
    if ctx.meta["tail"] is None:
        raise click.UsageError("give the command after --, as in: ci exec busybox -- echo hello")
    request = {"type": "container", **spec_of(options | {"image": image}, ctx.meta["tail"])}
    return _make_job(
        lambda connection: connection.client.create_job(request),
        Target(server, as_json=as_json, raw=raw, detach=detach),
    )


@command()
@click.argument("job")
@detach_option
@raw_option
@server_option
@events_option
def retry(job: str, server: str | None, as_json: bool, raw: bool, detach: bool) -> int:
    """Run a completed job again, as a new job.

    JOB is a job's id, or the beginning of one. The new job has the same upload and the same options.
    """

    async def submit_again(connection: "Connection") -> str:
        return await connection.client.retry_job(await connection.resolve(job))

    return _make_job(submit_again, Target(server, as_json=as_json, raw=raw, detach=detach))


@dataclass(frozen=True, slots=True)
class Target:
    """Where to submit a job, and how to follow it."""

    server: str | None
    as_json: bool
    raw: bool
    detach: bool = False


def _submit_project(ctx: click.Context, path: Path, target: Target, options: dict[str, Any]) -> int:
    from ci_cli.console import say
    from ci_client.formatting import size

    spec = spec_of(options, ctx.meta["tail"])
    with _packed(path) as archive:
        for note in archive.notes:
            say(note)
        if archive.unpacked_bytes is None:
            say(f"submitting {path}, {size(archive.size)}")
        else:
            files = f"{archive.files} file" + ("" if archive.files == 1 else "s")
            say(f"packed {files}, {size(archive.unpacked_bytes)}, into {size(archive.size)}")
        return _make_job(lambda connection: _upload(connection, archive, spec), target)


@contextmanager
def _packed(path: Path) -> "Iterator[Archive]":
    from ci_cli.console import Progress
    from ci_cli.interrupts import deferred_interrupt
    from ci_client.formatting import size
    from ci_client.packing.archive import open_project

    with ExitStack() as stack:
        progress = Progress()
        with deferred_interrupt() as check_interrupt:

            def show(files: int, count: int) -> None:
                check_interrupt()
                progress.show(f"packing: {files} files, {size(count)}")

            archive = stack.enter_context(open_project(path, show))
        progress.done()
        yield archive


async def _upload(connection: "Connection", archive: "Archive", spec: dict[str, Any]) -> str:
    from asyncio import CancelledError

    from ci_cli.console import Progress
    from ci_client.errors import SubmissionUncertain
    from ci_client.formatting import size

    progress = Progress()
    sent = False

    def show(count: int, total: int) -> None:
        nonlocal sent
        sent = count >= total
        progress.show(f"sending: {size(count)} of {size(total)}")

    try:
        return await connection.client.submit(archive, spec=spec or None, progress=show)
    except CancelledError as exc:
        if not sent:
            raise
        raise SubmissionUncertain(
            f"interrupted before the server sent the job's id: {SubmissionUncertain.WHAT}; look for it with `ci list`"
        ) from exc
    finally:
        progress.done()


def _make_job(make: "Callable[[Connection], Awaitable[str]]", target: Target) -> int:
    from ci_cli.connection import connected
    from ci_cli.console import say, show
    from ci_cli.follow import JobFollower
    from ci_cli.interrupts import Interrupts, run_command

    async def work(interrupts: Interrupts) -> int:
        outlives = "the job would not run once this command has ended" if target.detach else None
        async with connected(target.server, carries_jobs=True, outlives=outlives) as connection:
            say(f"server {connection.where}")
            job_id = await make(connection)
            say(f"job {job_id}")
            if not target.detach:
                follower = JobFollower(connection, job_id, as_json=target.as_json, raw=target.raw)
                return await follower.follow(interrupts, from_beginning=True)
            say(f"follow it with: {connection.advice('wait', job_id, '--all')}")
            if target.as_json:
                echo_json({"job_id": job_id})
            else:
                show(job_id)
            return 0

    return run_command(work)
