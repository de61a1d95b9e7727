"""`ci projects`: projects as things of their own, with settings."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import Group, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection

_RETENTION = ("completed", "failed", "uploads", "jobs")
_QUOTAS = ("queued", "running", "stored", "uploads", "streams")
_DEFAULT = "default"


@click.group("projects", cls=Group)
def projects() -> None:
    """List, create, change and remove projects."""


def _settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--quota",
            "quotas",
            metavar="NAME=VALUE",
            multiple=True,
            help="What it may use at most: queued or running (jobs), stored (bytes, as in 10g), uploads or streams "
            "(at a time), or unlimited; `default`: as the server's settings say. Repeatable.",
        ),
        click.option(
            "--retention",
            metavar="NAME=VALUE",
            multiple=True,
            help="How long is kept: completed, failed, uploads (30d or forever), or how many jobs (500 or unlimited); "
            "`default`: as the server's settings say. Repeatable.",
        ),
        click.option("--no-defaults", is_flag=True, help="Remove the defaults."),
        click.option(
            "--defaults",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A file like a ci.yaml, whose fields hold where neither request nor ci.yaml has them.",
        ),
        click.option("--any-image", is_flag=True, help="Allow every image."),
        click.option(
            "--image", "images", metavar="PATTERN", multiple=True, help="Allow only such images, as in python:3.*."
        ),
        click.option("--description", metavar="TEXT", help="What the project is, for people."),
    ):
        function = option(function)
    return function


@command("list")
@server_option
@json_option
def list_command(server: str | None, as_json: bool) -> int:
    """List the projects that were created."""
    from ci_cli.listing import list_things
    from ci_cli.tables.projects import project_table

    return list_things(
        server, lambda connection: connection.client.projects(), project_table, as_json=as_json, names="projects"
    )


@command("show")
@click.argument("name")
@server_option
@json_option
def show_command(name: str, server: str | None, as_json: bool) -> int:
    """Show a project."""

    async def work(connection: "Connection") -> int:
        return _show(await connection.client.project(name), as_json=as_json)

    return with_connection(server, work)


@command("create")
@click.argument("name")
@_settings_options
@server_option
@json_option
def create_command(name: str, server: str | None, as_json: bool, **options: Any) -> int:
    """Create a project."""
    fields = _fields(**options)

    async def work(connection: "Connection") -> int:
        return _show(await connection.client.create_project(name=name, **fields), as_json=as_json)

    return with_connection(server, work)


@command("set")
@click.argument("name")
@_settings_options
@server_option
@json_option
def set_command(name: str, server: str | None, as_json: bool, **options: Any) -> int:
    """Change the settings of a project."""
    fields = _fields(**options)
    if not fields:
        raise click.UsageError("name what is to be different, such as --description or --retention completed=7d")

    async def work(connection: "Connection") -> int:
        return _show(await connection.client.change_project(name, **fields), as_json=as_json)

    return with_connection(server, work)


@command("remove")
@click.argument("name")
@server_option
@json_option
def remove_command(name: str, server: str | None, as_json: bool) -> int:
    """Remove a project with its settings. Its jobs stay, and jobs may still name it."""
    from ci_cli.console import say
    from ci_client.escapes import visible

    async def work(connection: "Connection") -> int:
        await connection.client.remove_project(name)
        if as_json:
            echo_json({"removed": [name]})
        else:
            say(f"removed the project {visible(name)}")
        return 0

    return with_connection(server, work)


@command("members")
@click.argument("name")
@click.option(
    "--add",
    "added",
    metavar="OWNER=ROLE",
    multiple=True,
    help="Make an owner of keys a member: viewer, developer, operator or admin. Repeatable.",
)
@click.option("--remove", "removed", metavar="OWNER", multiple=True, help="Remove a member. Repeatable.")
@server_option
@json_option
def members_command(
    name: str, added: tuple[str, ...], removed: tuple[str, ...], server: str | None, as_json: bool
) -> int:
    """List the members of a project, after adding and removing some."""
    from ci_cli.console import say, show, window_width
    from ci_cli.tables.projects import member_table

    pairs = [each.rpartition("=") for each in added]
    if wrong := [each for each, pair in zip(added, pairs, strict=True) if not (pair[0] and pair[2])]:
        raise click.BadParameter(f"{wrong[0]!r} is not OWNER=ROLE", param_hint="--add")

    async def work(connection: "Connection") -> int:
        for owner, _, role in pairs:
            await connection.client.set_member(name, owner, role)
        for owner in removed:
            await connection.client.remove_member(name, owner)
        found = await connection.client.members(name)
        if as_json:
            echo_json(found)
        elif found:
            show(member_table(found, width=window_width()))
        else:
            say("the project has no members")
        return 0

    return with_connection(server, work)


for _each in (list_command, show_command, create_command, set_command, members_command, remove_command):
    projects.add_command(_each)


def _fields(
    description: str | None,
    images: tuple[str, ...],
    any_image: bool,
    defaults: Path | None,
    no_defaults: bool,
    retention: tuple[str, ...],
    quotas: tuple[str, ...],
) -> dict[str, Any]:
    """Return the fields of a request that the options say. Raises click.UsageError."""
    from ci_cli.roots.project import spec_in

    if images and any_image:
        raise click.UsageError("either --image or --any-image")
    if defaults is not None and no_defaults:
        raise click.UsageError("either --defaults or --no-defaults")
    fields: dict[str, Any] = {}
    if description is not None:
        fields["description"] = description
    if images or any_image:
        fields["images"] = list(images) or None
    if defaults is not None or no_defaults:
        fields["defaults"] = None if defaults is None else spec_in(defaults)
    if retention:
        fields["retention"] = _pairs(retention, _RETENTION, "--retention")
    if quotas:
        fields["quotas"] = _pairs(quotas, _QUOTAS, "--quota")
    return fields


def _pairs(given: tuple[str, ...], names: tuple[str, ...], option: str) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in names:
            from ci_client.escapes import visible

            raise click.BadParameter(
                f"{visible(repr(each))} is not NAME=VALUE with a name of {', '.join(names)}", param_hint=option
            )
        pairs[name] = None if value == _DEFAULT else value
    return pairs


def _show(project: dict[str, Any], *, as_json: bool) -> int:
    from ci_cli.console import show, window_width
    from ci_cli.tables.projects import project_details

    if as_json:
        echo_json(project)
    else:
        show(project_details(project, width=window_width()))
    return 0
