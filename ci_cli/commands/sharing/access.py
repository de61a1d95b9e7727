"""`ci login`, `ci logout` and `ci keys`. A secret goes to standard output once; no argument ever has one."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from ci_cli.options.common import echo_json, json_option, server_option, with_connection
from ci_cli.options.parameters import Group, command

if TYPE_CHECKING:
    from ci_cli.connection import Connection
    from ci_client.aio import CiClient

_LONGEST = 1000
_ROLES = ("member", "viewer", "developer", "operator", "admin")


@click.group("keys", cls=Group)
def keys() -> None:
    """Make, list, revoke and rotate the keys of a server."""


@command("create")
@click.argument("name", required=False)
@click.option(
    "--admin", is_flag=True, help="Make a key that may do everything, in the database itself: no server needed."
)
@click.option("--role", type=click.Choice(_ROLES), help="What the key may do; docs/security.md has the table.")
@click.option(
    "--scope", "scopes", metavar="SCOPE", multiple=True, help="In place of a role: one permission of several."
)
@click.option("--project", "projects", metavar="NAME", multiple=True, help="Only in this project; repeatable.")
@click.option("--owner", metavar="NAME", help="Whose jobs its jobs are; by default the key's name.")
@click.option("--expires", metavar="DURATION", help="Accept the key so long, such as 90d; by default until revoked.")
@server_option
@json_option
def create_command(
    name: str | None,
    admin: bool,
    role: str | None,
    scopes: tuple[str, ...],
    projects: tuple[str, ...],
    owner: str | None,
    expires: str | None,
    server: str | None,
    as_json: bool,
) -> int:
    """Make a key and write it to standard output. It is not shown again.

    The first key of a server is made where it runs, with --admin and the server's CI_DB_PATH or CI_DATABASE_URL.
    Further ones need a key with the scope keys:admin.
    """
    if admin:
        if role or scopes or projects or server:
            raise click.UsageError(
                "--admin makes a key for everything, in the database: it takes no role, scope, project"
            )
        return _show(_made_in_database(name or "admin", owner, expires), as_json=as_json)
    if name is None:
        raise click.UsageError("give the key a name, or --admin for the first key")
    if bool(role) == bool(scopes):
        raise click.UsageError("say what the key may do: either --role or --scope")
    given = {"role": role, "scopes": list(scopes), "projects": list(projects), "owner": owner, "expires_in": expires}
    fields = {"name": name, **{field: value for field, value in given.items() if value}}

    async def work(connection: "Connection") -> int:
        return _show(await connection.client.create_key(**fields), as_json=as_json)

    return with_connection(server, work)


def _made_in_database(name: str, owner: str | None, expires: str | None) -> dict[str, Any]:
    import asyncio

    from ci_cli.console import say
    from ci_cli.roots.keys import admin_key
    from ci_common.parsing.values import parse_duration
    from ci_common.settings import Settings

    try:
        seconds = None if expires is None else parse_duration(expires)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--expires") from None
    settings = Settings.from_env()
    made = asyncio.run(admin_key(settings, name, owner=owner, seconds=seconds))
    say(f"made a key that may do everything, in {settings.database}; from now on its server needs keys")
    return made


def _show(made: dict[str, Any], *, as_json: bool) -> int:
    from ci_cli.console import say, show

    if as_json:
        echo_json(made)
        return 0
    show(made["key"])
    say(f"that is key {made['id']} of {made['name']}; it is not shown again. Keep it with: ci login")
    return 0


@command("list")
@server_option
@json_option
def list_command(server: str | None, as_json: bool) -> int:
    """List the keys, the newest first, without their secrets."""
    from ci_cli.listing import list_things
    from ci_cli.tables.keys import key_table

    return list_things(server, lambda connection: connection.client.keys(), key_table, as_json=as_json, names="keys")


@command("revoke")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@server_option
@json_option
def revoke_command(keys: tuple[str, ...], server: str | None, as_json: bool) -> int:
    """Revoke keys, so that they are not accepted any more. KEY is the id or the name of one."""
    from ci_cli.console import say

    async def work(connection: "Connection") -> int:
        known = await connection.client.keys()
        found = [_named(key, known) for key in keys]
        for key in found:
            await connection.client.revoke_key(key)
        if as_json:
            echo_json({"revoked": found})
        else:
            say(f"revoked {', '.join(found)}")
        return 0

    return with_connection(server, work)


@command("rotate")
@click.argument("key", required=False)
@click.option(
    "--overlap",
    metavar="DURATION",
    help="How long the present secret is accepted too, such as 1h; 0: not any more. By default 24h.",
)
@server_option
@json_option
def rotate_command(key: str | None, overlap: str | None, server: str | None, as_json: bool) -> int:
    """Give a key another secret, and write it to standard output. KEY is its id or name, by default the own key.

    What `ci login` has kept of that key is replaced.
    """

    async def work(connection: "Connection") -> int:
        from ci_cli.console import say
        from ci_client.access.credentials import is_in_keyring, keep_key, kept_key
        from ci_common.access.keys import id_in

        key_id = None if key is None else _named(key, await connection.client.keys())
        made = await connection.client.rotate_key(key_id, overlap=overlap)
        server_url = connection.client.server_url
        if (kept := kept_key(server_url)) is not None and id_in(kept) == made["id"]:
            in_keyring = is_in_keyring(server_url)
            path = keep_key(server_url, made["key"], in_keyring=in_keyring)
            say(f"kept in {'the keyring' if in_keyring else path}")
        return _show(made, as_json=as_json)

    return with_connection(server, work)


def _named(text: str, known: list[dict[str, Any]]) -> str:
    """Return the id of the key with this id or name. Raises click.UsageError if that is none, or several."""
    from ci_client.escapes import visible

    found = [key["id"] for key in known if text == key["id"]]
    found = found or [key["id"] for key in known if text == key["name"] and key["revoked"] is None]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise click.UsageError(f"several keys are named {visible(repr(text))}; give the id of one: {', '.join(found)}")
    raise click.UsageError(f"no key has the id or the name {visible(repr(text))}; `ci keys list` shows them")


for _each in (create_command, list_command, revoke_command, rotate_command):
    keys.add_command(_each)


@command()
@click.option("--oidc", is_flag=True, help="Sign in in a browser, at an OpenID Connect issuer of the server.")
@click.option("--issuer", metavar="URL", help="With --oidc: which issuer, where the server trusts several.")
@click.option("--keyring", "in_keyring", is_flag=True, help="Keep the key in the keyring of this system.")
@server_option
def login(server: str | None, oidc: bool, issuer: str | None, in_keyring: bool) -> int:
    """Keep the key for a server.

    The other commands send it with every request to that server.

    The key is what CI_TOKEN has, else the first line of standard input; a terminal asks for it. It is tried at the
    server, and kept in a file that only you can read, or in the keyring (--keyring). With --oidc, you sign in on a page
    that is shown, and the server makes a key for you that is accepted for a limited time, by default a day.
    """
    if issuer is not None and not oidc:
        raise click.UsageError("--issuer is for --oidc")
    import asyncio

    from ci_cli.console import say
    from ci_client.access.credentials import keep_key
    from ci_client.aio import CiClient
    from ci_client.escapes import visible

    url = _url(server)
    key = _signed_in(url, issuer) if oidc else _given()

    async def tried() -> str:
        async with CiClient(url, key=key) as client:
            return await _about(client)

    about = asyncio.run(tried())
    path = keep_key(url, key, in_keyring=in_keyring)
    if url.startswith("http://") and not _is_here(url):
        say(f"{url} has no TLS: everyone who can read the network between can read the key")
    say(f"logged in at {visible(url)} as {visible(about)}; the key is kept in {'the keyring' if in_keyring else path}")
    return 0


@command()
@server_option
def logout(server: str | None) -> int:
    """Forget the key that is kept for a server. It stays valid: `ci keys revoke` ends it."""
    from ci_cli.console import say
    from ci_client.access.credentials import forget_key
    from ci_client.escapes import visible

    url = _url(server)
    say(f"forgot the key for {visible(url)}" if forget_key(url) else f"no key is kept for {visible(url)}")
    return 0


def _url(server: str | None) -> str:
    from ci_cli.choosing import find_server
    from ci_client.errors import NoServer

    url = find_server(server)
    if url is None:
        raise NoServer("no server is configured, and without one no key is needed: name one with --server")
    return url


def _signed_in(url: str, issuer: str | None) -> str:
    """Return a key of the person who signs in now. Raises click.UsageError, SignInFailed, what the client raises."""
    import asyncio

    from ci_cli.console import say
    from ci_client.aio import CiClient
    from ci_client.device_flow import Prompt, sign_in
    from ci_client.escapes import visible

    def show(prompt: Prompt) -> None:
        say(f"open {visible(prompt.complete_url or prompt.url)} in a browser, on any device")
        say(f"the code is {visible(prompt.code)}")

    async def changed() -> str:
        async with CiClient(url) as client:
            found = _chosen(await client.sign_in_issuers(), issuer)
        token = await sign_in(str(found["issuer"]), str(found["client_id"]), list(found["scopes"]), show)
        async with CiClient(url, key=token) as client:
            return str((await client.create_own_key())["key"])

    return asyncio.run(changed())


def _chosen(issuers: list[dict[str, Any]], named: str | None) -> dict[str, Any]:
    from ci_client.escapes import visible

    if not issuers:
        raise click.UsageError("no one signs in at this server with an issuer: use a key, with `ci login`")
    found = [each for each in issuers if named is None or each["issuer"] == named]
    if len(found) == 1:
        return found[0]
    known = ", ".join(visible(str(each["issuer"])) for each in issuers)
    raise click.UsageError(f"name one issuer of the server with --issuer: {known}")


def _given() -> str:
    """Return the key that the user gives. Raises click.UsageError."""
    key = os.environ.get("CI_TOKEN", "").strip()
    if not key and sys.stdin is not None:
        if sys.stdin.isatty():
            key = click.prompt("key", hide_input=True, err=True, default="", show_default=False).strip()
        else:
            key = sys.stdin.readline(_LONGEST).strip()
    if not key:
        raise click.UsageError("give the key on standard input, or in CI_TOKEN")
    return key


async def _about(client: "CiClient") -> str:
    own = await client.own_key()
    key = own.get("key") or {}
    projects = own.get("projects")
    what = key.get("role") or ", ".join(own.get("scopes") or [])
    where = "" if projects is None else f" in {', '.join(projects)}"
    return f"{own['name']} ({what}{where})"


def _is_here(url: str) -> bool:
    from urllib.parse import urlsplit

    from ci_client.access.addresses import is_loopback

    return is_loopback(urlsplit(url).hostname or "")
