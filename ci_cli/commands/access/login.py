"""`ci login` and `ci logout`: the user's key for a server."""

import os
import sys
from typing import TYPE_CHECKING

import click

from ci_cli.options.common import server_option
from ci_cli.options.parameters import command

if TYPE_CHECKING:
    from ci_client.aio import CiClient

_LONGEST = 1000


@command()
@server_option
def login(server: str | None) -> int:
    """Keep the key for a server, so that the other commands send it.

    The key is what CI_TOKEN has, else the first line of standard input; a terminal asks for it. It is tried at the
    server, and kept in a file that only you can read.
    """
    import asyncio

    from ci_cli.console import say
    from ci_client.aio import CiClient
    from ci_client.credentials import keep_key
    from ci_client.escapes import visible

    url = _url(server)
    key = _given()

    async def tried() -> str:
        async with CiClient(url, key=key) as client:
            return await _about(client)

    about = asyncio.run(tried())
    path = keep_key(url, key)
    if url.startswith("http://") and not _is_here(url):
        say(f"{url} has no TLS: everyone who can read the network between can read the key")
    say(f"logged in at {visible(url)} as {visible(about)}; the key is kept in {path}")
    return 0


@command()
@server_option
def logout(server: str | None) -> int:
    """Forget the key that is kept for a server. It stays valid: `ci keys revoke` ends it."""
    from ci_cli.console import say
    from ci_client.credentials import forget_key
    from ci_client.escapes import visible

    url = _url(server)
    say(f"forgot the key for {visible(url)}" if forget_key(url) else f"no key is kept for {visible(url)}")
    return 0


def _url(server: str | None) -> str:
    from ci_cli.connection import find_server
    from ci_client.errors import NoServer

    url = find_server(server)
    if url is None:
        raise NoServer("no server is configured, and without one no key is needed: name one with --server")
    return url


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

    from ci_client.transport import is_loopback

    return is_loopback(urlsplit(url).hostname or "")
