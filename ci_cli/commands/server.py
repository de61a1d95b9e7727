"""`ci serve`, `ci controller`, `ci mcp`, `ci settings`, `ci doctor`: commands that serve, or show an installation."""

from typing import Any

import click

from ci_cli.options.common import echo_json, json_option, server_option
from ci_cli.options.parameters import command


@command()
@click.option("--host", metavar="ADDRESS", help="The address to listen on. By default CI_HOST, or 127.0.0.1.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 takes any free one. By default PORT, or 8000.",
)
@click.option("--insecure", is_flag=True, help="Serve any address without any key: everyone who reaches it may do all.")
def serve(host: str | None, port: int | None, insecure: bool) -> int:
    """Run the server: the API, and the controller that runs jobs.

    Ctrl-C or SIGTERM stops it; running jobs go on, and the next `ci serve` adopts them. Until the first key is made,
    with `ci keys create --admin`, it serves loopback addresses only, and everyone on this machine can run commands
    through it. Settings come from the environment; `ci settings` shows them.
    """
    import asyncio

    from ci_cli.roots.serve import new_event_loop, run_server
    from ci_common.settings import Settings

    options = {"host": host, "port": port, "auth": "insecure" if insecure else None}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_server(Settings.from_env(**given)))
    return 0


@command()
@click.option("--until-prepared", is_flag=True, help="End once no prepared environment is left to be made.")
def controller(until_prepared: bool) -> int:
    """Run only the controller, beside a server that has none.

    Run the server with CI_CONTROLLER=off, and both with the same CI_DB_PATH and CI_DATA_DIR. Ctrl-C or SIGTERM stops
    the controller; running jobs go on.
    """
    import asyncio

    from ci_cli.roots.serve import run_controller
    from ci_common.settings import Settings

    asyncio.run(run_controller(Settings.from_env(), until_prepared=until_prepared))
    return 0


@command("mcp")
@server_option
def mcp(server: str | None) -> int:
    """Serve coding agents by the Model Context Protocol.

    It is spoken over standard input and output, so the agent's program starts this command. It needs the extra `mcp`:
    pip install 'ci-server[mcp]'. `ci init --agent` shows what such programs need to know. The command ends with its
    input; jobs go on on the server.
    """
    from ci_cli.interrupts import Interrupts, run_command

    try:
        from ci_cli.agents.mcp_server import serve
    except ImportError as exc:
        if exc.name is None or exc.name.split(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise click.UsageError(
            "the extra `mcp` is not installed; install it with: pip install 'ci-server[mcp]'"
        ) from exc

    async def work(interrupts: Interrupts) -> int:  # noqa: ARG001  # a signal ends the command
        await serve(server)
        return 0

    return run_command(work)


@command()
@json_option
def settings(as_json: bool) -> int:
    """Show every setting: its value, default, unit and meaning."""
    from ci_cli.console import show, window_width
    from ci_cli.tables.settings import settings_table
    from ci_common.settings import Settings

    values = Settings.from_env()
    rows = _described(values)
    if as_json:
        echo_json(rows)
        return 0
    if values.database_url is not None:
        next(row for row in rows if row["setting"] == "CI_DB_PATH")["value"] = "not used"
    show(settings_table(rows, _shown, width=window_width()))
    return 0


def _described(values: Any) -> list[dict[str, Any]]:
    """Return the settings; the path of the database has no value where the database is a server's."""
    rows = []
    for name in type(values).model_fields:
        about = type(values).describe(name)
        value = None if name == "db_path" and values.database_url is not None else getattr(values, name)
        row = {"setting": about["env"], "value": value, "default": about["default"]}
        row |= {"unit": about["unit"], "meaning": about["meaning"]}
        rows.append({key: _written(each) for key, each in row.items()})
    return rows


def _written(value: Any) -> Any:
    """Return a value as it is written in the environment; numbers stay numbers."""
    if isinstance(value, int | float | None):
        return value
    return ",".join(map(str, value)) if isinstance(value, tuple | list | set | frozenset) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)


@command()
@server_option
@json_option
def doctor(server: str | None, as_json: bool) -> int:
    """Check this installation, and say what to fix.

    The exit status is 0 if jobs can run, 69 if a server or an engine does not answer, 70 if anything else failed.
    """
    import asyncio
    from dataclasses import asdict

    from ci_cli.console import show
    from ci_cli.roots.doctor import examine_all, exit_status

    findings = asyncio.run(examine_all(server))
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        marks = {True: ("ok", "green"), None: ("warning", "yellow"), False: ("failed", "red")}
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            (word, colour), name = marks[finding.ok], finding.name
            mark = click.style(word.ljust(7), fg=colour)
            for line in finding.message.split("\n"):
                show(f"  {name.ljust(width)}  {line}", mark=mark)
                mark, name = " " * 7, ""
            if finding.remedy and finding.ok is not True:
                show(f"  {'':{width}}  {finding.remedy}", mark=" " * 7)
    return exit_status(findings)
