"""The options of a job's `spec`, and of what a new job changes of the one that it repeats."""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ci_cli.options.common import image_option
from ci_cli.options.parameters import is_text

F = TypeVar("F", bound=Callable[..., Any])

_PLAIN = ("image", "timeout", "no_output_timeout", "stop_grace", "priority", "project")
_LIMITS = {"cpus": "cpus", "memory": "memory", "pids": "pids", "log": "max_log", "workspace": "max_workspace"}


def spec_options(command: F) -> F:
    """Add the options of a job's `spec`. The command passes them to `spec_of`, together with `image`."""
    options = [
        click.option(
            "--env", "-e", multiple=True, metavar="NAME[=VALUE]",
            help="Set an environment variable of the job; without =VALUE, to its value here. May be repeated.",
        ),
        click.option(
            "--secret", multiple=True, metavar="NAME[=VARIABLE]",
            help="Give the job a secret of the server, as the variable of its name or another. May be repeated.",
        ),
        click.option(
            "--untrusted", is_flag=True,
            help="Give the job no secrets: what it runs is not trusted, such as a change from a fork.",
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
    spec |= {"secrets": _secrets(options["secret"])} if options["secret"] else {}
    spec |= {"labels": _labels(options["label"])} if options["label"] else {}
    spec |= {"limits": limits} if limits else {}
    spec |= {"retry": {"max_attempts": 1 + options["retries"]}} if options["retries"] is not None else {}
    spec |= {"network": False} if options["no_network"] else {}
    spec |= {"fresh": True} if options["fresh"] else {}
    spec |= {"untrusted": True} if options["untrusted"] else {}
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


def _secrets(given: tuple[str, ...]) -> dict[str, str | None]:
    """Return the variables by the names of secrets; None for the one of the same name."""
    secrets: dict[str, str | None] = {}
    for text in given:
        name, equals, variable = text.partition("=")
        if not name or (equals and not variable):
            raise click.UsageError(
                f"--secret {text}: write it as NAME or NAME=VARIABLE; its value is set before, with: ci secrets set"
            )
        if name in secrets:
            raise click.UsageError(f"--secret {name}: it is given twice")
        secrets[name] = variable or None
    return secrets


def _labels(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for text, (key, equals, _) in zip(given, pairs, strict=True):
        if not key or not equals:
            raise click.UsageError(f"--label {text}: write it as KEY=VALUE")
    return {key: value for key, _, value in pairs}
