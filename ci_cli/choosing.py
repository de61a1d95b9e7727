"""Which server a command talks to: the named one, else this user's `ci serve`."""

from ci_cli.announcement import find_announced
from ci_client.access.addresses import configured_url


def find_server(server: str | None) -> str | None:
    """Return the URL of the server that is named, here or by default, or of this user's; None without any.

    Raises SettingsError for a name that none has.
    """
    if server and ":" in server:
        return server  # A URL needs no configuration to be read.
    if server:
        from ci_cli.configuration import named_server

        return named_server(server)
    if (url := configured_url()) is not None:
        return url
    from ci_cli.configuration import default_server

    return default_server() or find_announced()


def server_option(server: str | None) -> str:
    """Return the option that names the server, for advice to the user; empty if none is needed."""
    option = server or configured_url()
    return f"--server {option}" if option else ""


def command_line(command: str, option: str, *rest: str) -> str:
    """Return a command line that the user can run next; `option` names the server."""
    return " ".join(["ci", command, *([option] if option else []), *rest])
