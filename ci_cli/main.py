"""The command line, `ci`. `ci_client.exits` documents the exit statuses."""

import errno
import gc
import io
import os
import re
import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

EX_USAGE = 64
EX_SOFTWARE = 70
EX_INTERRUPTED = 130
EX_BROKEN_PIPE = 141

_OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO),
)
"""Errors of the system, which are no fault of ours and which a report would not explain better."""
_AS_REPR = re.compile(r"\\udc([89a-f][0-9a-f])")
"""A byte that is not UTF-8, as `repr` shows it in click's messages."""
_EXIT_STATUS = """\b
Exit status: the job's own exit code if its own code ended by itself; else
   64  wrong usage, or the server refused the request
   69  no server answers
   70  an error of ours
   75  the job errored: it could not be run, or was lost
   76  the job goes on: the time that --budget gave was used up
  124  the job timed out
  130  the job was cancelled, or the command was interrupted"""


_COMMANDS = {
    "run": "run.run",
    "init": "project.init",
    "validate": "project.validate",
    "submit": "run.submit",
    "exec": "run.exec_command",
    "retry": "run.retry",
    "wait": "logs.wait",
    "logs": "logs.logs",
    "list": "jobs.list_command",
    "status": "jobs.status",
    "open": "jobs.open_command",
    "tests": "tests.tests",
    "artifacts": "artifacts.artifacts",
    "download": "artifacts.download",
    "cancel": "jobs.cancel",
    "record": "records.record",
    "diff": "records.diff",
    "rerun": "records.rerun",
    "verify": "records.verify",
    "delete": "cleanup.delete",
    "cleanup": "cleanup.cleanup",
    "env": "kept.env",
    "cache": "kept.cache",
    "mcp": "server.mcp",
    "serve": "server.serve",
    "controller": "server.controller",
    "settings": "server.settings",
    "login": "sharing.access.login",
    "logout": "sharing.access.logout",
    "keys": "sharing.access.keys",
    "projects": "sharing.projects.projects",
    "secrets": "sharing.secrets.secrets",
    "audit": "sharing.audit.audit",
    "config": "configuration.config",
    "completion": "configuration.completion",
    "doctor": "server.doctor",
    "backup": "backup.backup",
    "restore": "backup.restore",
    "adopt": "backup.adopt",
    "migrate-database": "backup.migrate_database",
    "selftest": "selftest.selftest",
}
"""By importance, the commands with their places in `ci_cli.commands`."""


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name. Each is imported when it is first asked for, since a command needs none of the others."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = _COMMANDS[name].rpartition(".")
            self._loaded[name] = getattr(import_module(f"ci_cli.commands.{module}"), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in _COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the commands by importance instead of alphabetically."""
        return list(self.commands)


@click.group(
    cls=_InOrder,
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_STATUS,
)
@click.version_option(package_name="ci-server", prog_name="ci")
def cli() -> None:
    """Submit a directory, watch it run in a clean container, get a verdict.

    In a project, `ci run` is all you need. `ci serve` starts a server that several terminals or machines can share. A
    job's log goes to standard output, everything else to standard error.
    """


def main() -> None:
    """Run the command line and end the process with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # The terminal's encoding may lack characters.
    sys.unraisablehook = _unraisable
    status = _flushed(run_cli(sys.argv[1:]))
    gc.freeze()  # The interpreter would look for garbage in all modules before it exits.
    sys.exit(status)


def run_cli(args: list[str]) -> int:
    """Run the command line with these arguments and return its exit status; messages go to standard error.

    All errors end here. Errors that are raised on purpose say what was wrong. Any other is an error of ours: it is
    saved in a report, and never shown as a traceback.
    """
    try:
        return _run_click(args)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nci: interrupted", err=True)
        return EX_INTERRUPTED
    except Exception as exc:
        return _unexpected(exc, args)


def _unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Save a report of an error that no code could catch, for example in a finalizer, instead of its traceback."""
    from ci_cli.unexpected import is_debugging, save_report

    if is_debugging() or failure.exc_value is None:
        sys.__unraisablehook__(failure)
    else:
        save_report(failure.exc_value, "beside the command")


def _flushed(status: int) -> int:
    """Flush the buffers, so that the interpreter reports no error when it exits. Return the exit status."""
    for stream, failed in ((sys.stdout, EX_BROKEN_PIPE), (sys.stderr, status)):
        try:
            if stream is not None:
                stream.flush()
        except OSError as exc:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            status = status or (failed if isinstance(exc, BrokenPipeError) else EX_SOFTWARE)
        except ValueError:
            pass  # It was closed before.
    return status


def _run_click(args: list[str]) -> int:
    streams = sys.stdout, sys.stderr
    try:
        status = cli.main(args, prog_name="ci", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return EX_USAGE
    except click.ClickException as exc:
        _show_misuse(exc)
        return EX_USAGE
    except SystemExit:
        if sys.stdout is streams[0]:
            raise
        sys.stdout, sys.stderr = streams  # Click replaces them if a pipe is closed.
        return EX_BROKEN_PIPE
    except Exception as exc:
        status = _status_of_error(exc)
        if status is None:
            raise
    return _number(status)


def _number(status: object) -> int:
    return status if isinstance(status, int) else 0


def _unexpected(error: Exception, args: list[str]) -> int:
    from ci_cli.console import say
    from ci_cli.unexpected import report

    command = next((arg for arg in args if arg in cli.commands), "")
    for line in report(error, f"ci {command}".strip()):
        say(line, problem=True)
    return EX_SOFTWARE


def _show_misuse(error: click.ClickException) -> None:
    from ci_cli.console import say

    message = error.format_message().replace(". Did you", "; did you").replace(" (Did you", "; did you")
    message = message.removesuffix(".").removesuffix(")") if "; did you" in message else message.rstrip(".")
    message = _AS_REPR.sub(r"\\x\1", message[:1].lower() + message[1:]).replace(".; did", "; did")
    context = getattr(error, "ctx", None)
    see = f"see: {context.command_path if context else 'ci'} --help"
    say(f"{message} {see}" if message.endswith("?") else f"{message}; {see}", problem=True)


def _status_of_error(error: Exception) -> int | None:
    """Report the error and return the exit status, or None for an error that was not raised on purpose."""
    from ci_cli.console import say
    from ci_client.errors import ServerError, ServerUnreachable
    from ci_client.exits import status_of_error
    from ci_common.errors import CiError

    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        place = f" ({error.filename})" if error.filename else ""
        say(f"the system refuses what the command needs: {error.strerror}{place}", problem=True)
        return EX_SOFTWARE
    if not isinstance(error, CiError):
        return None
    if str(error):
        say(str(error), problem=True)
    for field in getattr(error, "errors", ()):
        if field.message not in str(error):
            say(f"  {field.path}: {field.message}", problem=True)
    if isinstance(error, ServerUnreachable):
        say("  start a server with `ci serve`; `ci run` without a server's name needs none", problem=True)
    if isinstance(error, ServerError) and error.retry_after is not None:
        unit = " s" if error.retry_after.isdigit() else ""
        say(f"  try again after {error.retry_after}{unit}", problem=True)
    return status_of_error(error)


if __name__ == "__main__":
    main()
