"""`ci config` and `ci completion`: how the command line itself is set up."""

import sys

import click

from ci_cli.options.common import echo_json, json_option
from ci_cli.options.parameters import SERVER, Group, command


@click.group("config", cls=Group)
def config() -> None:
    """Name servers, and choose the one that is used by default."""


@command("list")
@json_option
def list_command(as_json: bool) -> int:
    """List the servers that have a name; `*` marks the default."""
    from ci_cli.configuration import read_configuration
    from ci_cli.console import say, show
    from ci_client.formatting import columns

    known = read_configuration()
    if as_json:
        echo_json({"path": str(known.path), "server": known.server, "servers": known.servers})
    elif known.servers:
        rows = [("*" if name == known.server else "", name, url) for name, url in known.servers.items()]
        show(columns([("", "NAME", "URL"), *rows]))
    else:
        say(f"no server has a name in {known.path}; give one with: ci config add NAME URL")
    return 0


@command("add")
@click.argument("name")
@click.argument("url")
@click.option("--default", "is_default", is_flag=True, help="Use this server where none is named.")
@json_option
def add_command(name: str, url: str, is_default: bool, as_json: bool) -> int:
    """Give a server a name, for --server NAME."""
    from ci_cli.configuration import NAME, check_url, read_configuration
    from ci_client.escapes import visible

    if not NAME.fullmatch(name):
        raise click.UsageError(f"{visible(repr(name))} is not a name; use letters, digits, - and _")
    known = read_configuration()
    known.servers[name] = check_url(url, visible(url))
    if is_default:
        known.server = name
    known.save()
    return _told(f"{name} is {url}" + (", and the default" if known.server == name else ""), as_json=as_json)


@command("remove")
@click.argument("name", type=SERVER)
@json_option
def remove_command(name: str, as_json: bool) -> int:
    """Take the name of a server away."""
    from ci_cli.configuration import read_configuration

    known = read_configuration()
    known.url_of(name)
    del known.servers[name]
    if known.server == name:
        known.server = None
    known.save()
    return _told(f"removed {name}", as_json=as_json)


@command("default")
@click.argument("name", required=False, type=SERVER)
@json_option
def default_command(name: str | None, as_json: bool) -> int:
    """Use a server where none is named; without NAME, use none."""
    from ci_cli.configuration import read_configuration

    known = read_configuration()
    if name is not None:
        known.url_of(name)
    known.server = name
    known.save()
    return _told(f"the default is {name}" if name else "there is no default", as_json=as_json)


def _told(text: str, *, as_json: bool) -> int:
    from ci_cli.configuration import read_configuration
    from ci_cli.console import say

    say(text)
    if as_json:
        known = read_configuration()
        echo_json({"path": str(known.path), "server": known.server, "servers": known.servers})
    return 0


for _each in (list_command, add_command, remove_command, default_command):
    config.add_command(_each)


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Let a shell complete commands and the ids of jobs.

    \b
    bash:  eval "$(ci completion bash)"      in ~/.bashrc
    zsh:   eval "$(ci completion zsh)"       in ~/.zshrc
    fish:  ci completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from ci_cli.console import show_raw

    found = get_completion_class(shell)
    assert found is not None, "click has the shells that are offered"
    complete = found(ctx.find_root().command, {}, "ci", "_CI_COMPLETE")
    show_raw(complete.source_template % complete.source_vars() + ("" if sys.stdout.isatty() else "\n"))
    return 0
