"""`ci init` and `ci validate`: commands about the `ci.yaml` of a project, which need no server."""

import json
from pathlib import Path

import click

from ci_cli.options.common import echo_json, json_option
from ci_cli.options.parameters import FilePath, command

EX_USAGE = 64


@command()
@click.argument("path", default=".", metavar="[PATH]", type=FilePath())
@json_option
def validate(path: Path, as_json: bool) -> int:
    """Check a ci.yaml, and say where it is wrong.

    PATH is a directory with a ci.yaml, by default this one, or such a file. In a directory, the file is also held
    against the project: whether the inputs of its setup are there, for example. For each error, its line and column
    are shown, and what would be right. Needs no server. The exit status is 64
    if anything is wrong.
    """
    from ci_cli.console import show
    from ci_cli.roots.project import validate as validated

    found = validated(path)
    if as_json:
        echo_json(found.document())
    else:
        for line in found.lines():
            show(line)
        if not found.findings:
            show(f"{found.file} is valid")
    return EX_USAGE if found.findings else 0


@command()
@click.argument("path", default=".", metavar="[PATH]", type=FilePath())
@click.option("--force", is_flag=True, help="Replace the ci.yaml that is there.")
@click.option(
    "--agent",
    is_flag=True,
    help="Write instead a section of AGENTS.md that tells coding agents how to run the tests, and show what programs "
    "that speak the Model Context Protocol have to be told. What else is in the file stays.",
)
@json_option
def init(path: Path, force: bool, agent: bool, as_json: bool) -> int:
    """Write the ci.yaml of what is detected in a project.

    PATH is the project's directory, by default this one. The file says as comments what was detected, and why. Beside
    it, .ci/spec.schema.json lets editors complete and check it. Needs no server.
    """
    from ci_cli.console import say, show
    from ci_cli.roots.project import write_ci_yaml

    if agent:
        return _init_for_agents(path, as_json=as_json)
    project, written = write_ci_yaml(path, force=force)
    if as_json:
        echo_json({"written": [str(file) for file in written], "reasons": project.reasons})
        return 0
    for reason in project.reasons:
        say(f"detected: {reason}")
    for file in written:
        show(str(file))
    say("check it after changes with: ci validate")
    return 0


def _init_for_agents(path: Path, *, as_json: bool) -> int:
    from ci_cli.agents.snippet import configuration, write_section
    from ci_cli.console import say, show

    file, changed = write_section(path)
    if as_json:
        echo_json({"written": [str(file)] if changed else [], "mcp": json.loads(configuration())})
        return 0
    say(f"{file} {'has' if changed else 'already had'} the section for agents")
    say("programs that speak the Model Context Protocol need this entry, and the extra: pip install 'ci-server[mcp]'")
    show(configuration())
    return 0
