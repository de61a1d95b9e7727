"""What several commands share: options, the command after `--`, JSON output, and the connection to a server."""

import json
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ci_cli.agents.following import AgentForm
    from ci_cli.connection import Connection
    from ci_cli.interrupts import Interrupts

F = TypeVar("F", bound=Callable[..., Any])


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


JOB = JobParameter()
DATABASE = DatabaseParameter()
command = partial(click.command, cls=Command)


def is_text(value: str) -> bool:
    """Return whether a text from outside was valid UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


server_option = click.option(
    "--server",
    metavar="URL",
    help="The server: http(s)://HOST:PORT, unix:///PATH, or a name from `ci config`. By default CI_SERVER_URL, else "
    "what the project or `ci config` names, else this user's `ci serve` on this machine, else one inside this command.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")
events_option = click.option(
    "--json",
    "--jsonl",
    "as_json",
    is_flag=True,
    help="Write the job's events to standard output, one line of JSON each.",
)


def agent_options(command: F) -> F:
    """Add the options of the form for agents. The command passes them to `agent_form`."""
    options = [
        click.option(
            "--agent",
            is_flag=True,
            help="Write a few short lines, for programs that read them: the job's id, a heartbeat, and at the end the "
            "failed tests and the lines that matter. The exit status is 0, 1, 75, 76, 124 or 130.",
        ),
        click.option(
            "--budget",
            metavar="DURATION",
            help="With --agent: end after this time, with 76, although the job goes on; a message says how to go on.",
        ),
        click.option(
            "--fail-fast", is_flag=True, help="With --agent: end with 1 once a test has failed; the job goes on."
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def agent_form(options: dict[str, Any], *, as_json: bool) -> "AgentForm | None":
    """Take the options of the form for agents out of `options`; None without --agent. Raises click.UsageError."""
    agent, budget, fail_fast = options.pop("agent"), options.pop("budget"), options.pop("fail_fast")
    if not agent:
        if budget is not None or fail_fast:
            raise click.UsageError("--budget and --fail-fast need --agent")
        return None
    from ci_cli.agents.following import AgentForm
    from ci_common.parsing.values import parse_duration

    try:
        seconds = None if budget is None else parse_duration(budget)
    except ValueError as exc:
        raise click.UsageError(f"--budget: {exc}") from exc
    return AgentForm(seconds, fail_fast=fail_fast, as_json=as_json)


detach_option = click.option(
    "--detach", is_flag=True, help="Write the job's id to standard output and end, without following the job."
)


raw_option = click.option(
    "--raw", is_flag=True, help="Write the log to a terminal unchanged, with all its control sequences."
)
verbose_option = click.option(
    "--verbose", "-v", is_flag=True, help="Show the output of all steps on a terminal, instead of one line for each."
)


def _choose_colour(ctx: click.Context, param: click.Parameter, value: str | None) -> None:  # noqa: ARG001  # click's
    if value is not None:
        from ci_cli.console import choose_colour

        choose_colour(value)


color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    expose_value=False,
    callback=_choose_colour,
    help="Whether output is in colour. By default on terminals, unless NO_COLOR or FORCE_COLOR says otherwise.",
)
image_option = click.option("--image", metavar="IMAGE", help="The image to run in, such as python:3.12-slim.")


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


_PLAIN = ("image", "timeout", "no_output_timeout", "stop_grace", "priority", "project")
_LIMITS = {"cpus": "cpus", "memory": "memory", "pids": "pids", "log": "max_log", "workspace": "max_workspace"}


def spec_options(command: F) -> F:
    """Add the options of a job's `spec`. The command passes them to `spec_of`, together with `image`."""
    options = [
        click.option(
            "--env", "-e", multiple=True, metavar="NAME[=VALUE]",
            help="Set an environment variable of the job; without =VALUE, to its value here. May be repeated.",
        ),
        click.option("--timeout", metavar="DURATION", help="Stop the job after this time: seconds, or 10m, 1h30m."),
        click.option(
            "--retries", type=click.IntRange(0, 99), metavar="N",
            help="Retry up to N times if the job fails, times out or errors. By default 0.",
        ),
        click.option(
            "--no-output-timeout", metavar="DURATION", help="Stop the job if it writes nothing for this time."
        ),
        click.option(
            "--stop-grace", metavar="DURATION",
            help="Kill a job that is being stopped this long after SIGTERM. By default CI_STOP_GRACE.",
        ),
        click.option("--cpus", type=float, metavar="N", help="The most processors the job may use, such as 1.5."),
        click.option("--memory", metavar="SIZE", help="The most memory the job may use, such as 512m or 2g."),
        click.option("--pids", type=int, metavar="N", help="The most processes and threads the job may have at once."),
        click.option("--max-log", metavar="SIZE", help="Stop the job if its log gets larger, such as 100m."),
        click.option("--max-workspace", metavar="SIZE", help="Stop the job if its workspace gets larger, such as 10g."),
        click.option("--no-network", is_flag=True, help="Give the job no network."),
        click.option(
            "--fresh", is_flag=True, help="Run the setup, although there is a prepared environment, and replace that."
        ),
        click.option("--priority", type=int, metavar="N", help="Higher ones start first. By default 0."),
        click.option("--project", metavar="NAME", help="A name to group jobs by."),
        click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label to find it by. May be repeated."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def spec_of(options: dict[str, Any], tail: list[str] | None) -> dict[str, Any]:
    """Return the `Spec` that the options and the command after `--` describe, as JSON without defaults.

    Raises InvalidRequest, click.UsageError.
    """
    limits = {name: options[option] for name, option in _LIMITS.items() if options[option] is not None}
    spec = {name: options[name] for name in _PLAIN if options[name] is not None}
    spec |= {"env": _variables(options["env"])} if options["env"] else {}
    spec |= {"labels": _labels(options["label"])} if options["label"] else {}
    spec |= {"limits": limits} if limits else {}
    spec |= {"retry": {"max_attempts": 1 + options["retries"]}} if options["retries"] is not None else {}
    spec |= {"network": False} if options["no_network"] else {}
    spec |= {"fresh": True} if options["fresh"] else {}
    if tail is not None:
        if not tail:
            raise click.UsageError("there is no command after --")
        spec["command"] = list(tail)
    if spec:
        from ci_common.parsing.models import validated  # Takes longer than all else that is imported.
        from ci_common.spec import Spec

        validated(Spec, spec, source="the options")
    return spec


def change_options(command: F) -> F:
    """Add the options of what a new job changes of the one that it repeats. The command passes them to `changes_of`."""
    options = [
        image_option,
        click.option("--env", "-e", multiple=True, metavar="NAME[=VALUE]", help="Set an environment variable, too."),
        click.option("--timeout", metavar="DURATION", help="Stop the job after this time: seconds, or 10m, 1h30m."),
        click.option(
            "--set",
            "fields",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Set another field of the spec, as in limits.memory=2g or steps='[\"make\"]'. May be repeated.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def changes_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a retry that the options describe. Raises InvalidRequest, click.UsageError."""
    changes = {name: options[name] for name in ("image", "timeout") if options[name] is not None}
    changes |= {"env": _variables(options["env"])} if options["env"] else {}
    for text in options["fields"]:
        field, equals, value = text.partition("=")
        names = field.split(".", 1)
        if not equals or not all(names):
            raise click.UsageError(f"--set {text}: write it as FIELD=VALUE, as in limits.memory=2g")
        inner = changes if len(names) == 1 else changes.setdefault(names[0], {})
        if not isinstance(inner, dict) or names[-1] in inner:
            raise click.UsageError(f"--set {field}: it is set twice")
        inner[names[-1]] = _value(value)
    if changes:
        from ci_common.parsing.models import validated
        from ci_common.wire.changes import RetryChanges

        validated(RetryChanges, changes, source="the options")
    return changes


def _value(text: str) -> Any:
    """Return what stands behind `=`: JSON, or else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    variables = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            if name not in os.environ:
                raise click.UsageError(f"--env {name}: this variable is not set here; give a value with --env {name}=…")
            value = os.environ[name]
            if not is_text(value):
                raise click.UsageError(f"--env {name}: its value here is not valid UTF-8; give one with --env {name}=…")
        variables[name] = value
    return variables


def _labels(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for text, (key, equals, _) in zip(given, pairs, strict=True):
        if not key or not equals:
            raise click.UsageError(f"--label {text}: write it as KEY=VALUE")
    return {key: value for key, _, value in pairs}


def echo_json(value: Any) -> None:
    """Write a value to standard output as JSON."""
    from ci_cli.console import show_raw
    from ci_client.escapes import visible_json

    show_raw(visible_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def with_connection(
    server: str | None, work: "Callable[[Connection], Awaitable[int]]", *, carries_jobs: bool = False
) -> int:
    """Run `work` with a connection to the server, and return its exit status; see `connected`."""
    from ci_cli.connection import connected
    from ci_cli.interrupts import run_command

    async def command(interrupts: "Interrupts") -> int:  # noqa: ARG001  # a signal ends the command
        async with connected(server, carries_jobs=carries_jobs) as connection:
            return await work(connection)

    return run_command(command)
