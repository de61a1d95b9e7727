"""The class of all commands, and the types of their parameters: paths, jobs, databases, a command after `--`."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Command(click.Command):
    """A command whose text arguments must be valid UTF-8. Paths may be any bytes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for param in self.params:
            given = ctx.params.get(param.name or "")
            for value in given if isinstance(given, tuple) else (given,):
                if isinstance(value, str) and not is_text(value):
                    from ci_client.escapes import visible

                    raise click.BadParameter(f"{visible(value)} is not valid UTF-8", ctx, param)
        return rest


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class TailCommand(Command):
    """A command that leaves everything after the first `--` in `ctx.meta["tail"]` (None without `--`)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["tail"] = None
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta["tail"] = args[:cut], args[cut + 1 :]
            _check_tail(ctx.meta["tail"], ctx)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def _check_tail(tail: list[str], ctx: click.Context) -> None:
    for number, value in enumerate(tail, start=1):
        if not is_text(value):
            from ci_client.escapes import visible

            raise click.UsageError(
                f"the command's word {number}, {visible(value)}, is not valid UTF-8, which a job's command must be; "
                "let a shell in the job produce such bytes, as in: sh -c 'printf \"\\\\377\"'",
                ctx,
            )


class FilePath(click.Path):
    """A path that is not empty, so that an unset shell variable does not mean the current directory."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path_type=Path, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; give a path, such as . for the current directory", param, ctx)
        return super().convert(value, param, ctx)


class DatabaseParameter(click.ParamType):  # type: ignore[type-arg]  # newer versions of click have one
    """A database: a path, a URL without a password, or `env:NAME` for what the environment variable NAME has."""

    name = "database"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ci_common.configuration.database_address import DatabaseAddress

        variable = value.removeprefix("env:") if value.startswith("env:") else None
        text = value if variable is None else os.environ.get(variable, "")
        if not text:
            self.fail("it is empty; give a path or a URL" if variable is None else f"{variable} is not set", param, ctx)
        try:
            address = DatabaseAddress.parse(text)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
        if variable is None and address.url is not None and address.url.has_password:
            self.fail(
                "the arguments of a process can be read by other users, so they have no password: put the URL into an "
                "environment variable and write env:NAME, or set PGPASSWORD or PGPASSFILE",
                param,
                ctx,
            )
        return address


class JobParameter(click.ParamType):  # type: ignore[type-arg]  # newer versions of click have one
    """A job's id, or the beginning of one. Shells complete it with the latest jobs of the server."""

    name = "job"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002  # click's signature
        incomplete: str,
    ) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        from ci_cli.completing import latest_jobs

        found = latest_jobs(ctx.params.get("server"), incomplete)
        return [CompletionItem(job_id, help=about) for job_id, about in found]


class ServerParameter(click.ParamType):  # type: ignore[type-arg]  # newer versions of click have one
    """A server's URL, or its name in the user's configuration. Shells complete the names."""

    name = "server"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        from ci_cli.configuration import read_configuration
        from ci_common.errors import CiError

        try:
            servers = read_configuration().servers
        except (CiError, OSError):
            return []
        return [CompletionItem(name, help=url) for name, url in servers.items() if name.startswith(incomplete)]


JOB = JobParameter()
SERVER = ServerParameter()
DATABASE = DatabaseParameter()
command = partial(click.command, cls=Command)


def is_text(value: str) -> bool:
    """Return whether a text from outside was valid UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
