"""The options of the form for agents, and what they mean."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ci_cli.agents.following import AgentForm

F = TypeVar("F", bound=Callable[..., Any])


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
