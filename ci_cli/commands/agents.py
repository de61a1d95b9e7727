"""`ci mcp`: the tools of an agent, over the Model Context Protocol."""

import click

from ci_cli.options import command, server_option


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
