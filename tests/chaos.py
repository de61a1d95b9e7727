"""`python -m tests.chaos --minutes 10 --runtime docker`: a self-test on a PostgreSQL server that is itself killed.

`ci selftest --database` does the same on a user's server, which it neither kills nor stops. With `--sqlite`, the
database is a file, as of `ci selftest`. Services have an image with a volume, which no other self-test has.

Prints the table, and ends with 1 where a promise was broken. Run it by `python -m tests.engine` where the runtime needs
an engine.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ci_common.configuration.database_address import DatabaseUrl
from ci_selftest.report import Outcome
from ci_selftest.run import Options, Run
from tests.engine import images
from tests.engine.api import require_engine
from tests.helpers.postgresql.server import PostgreSQLServer, running_server

_SAY_EVERY_SECONDS = 15.0


class Killable:
    """A server of the tests as the self-test wants it. For the main thread, with which the server ends."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self._server = server

    async def end(self, how: Literal["kill", "immediate", "fast"]) -> None:
        if how == "kill":
            await asyncio.to_thread(self._server.kill)
        else:
            await asyncio.to_thread(self._server.stop, how)

    async def begin(self) -> None:
        await self._server.start_again()


def options_on(server: PostgreSQLServer, parent: Path, runtime: str, *, seconds: float | None, seed: int) -> Options:
    """Return the options of a run on a database of `server`, which is killed, too."""
    url = DatabaseUrl.parse(server.url(server.create_database()))
    return replace(options_of(parent, runtime, seconds=seconds, seed=seed), database=url, server=Killable(server))


def options_of(parent: Path, runtime: str, *, seconds: float | None, seed: int) -> Options:
    """Return the options of a run whose database is a file."""
    if runtime != "docker":
        return Options(seed, seconds, runtime, "none", parent=parent)
    engine = require_engine()
    image, of_services = images.busybox_image(engine), images.volume_image(engine, "/data")
    return Options(seed, seconds, runtime, image, parent=parent, service_image=of_services)


async def _run(run: Run) -> Outcome:
    async def say() -> None:
        while True:
            await asyncio.sleep(_SAY_EVERY_SECONDS)
            print(run.line(), file=sys.stderr, flush=True)

    saying = asyncio.create_task(say())
    try:
        return await run.execute()
    finally:
        saying.cancel()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--runtime", choices=["process", "docker"], default="process")
    parser.add_argument("--sqlite", action="store_true")
    given = parser.parse_args()
    parent = Path(tempfile.mkdtemp(prefix="ci-chaos-")) / "selftest"
    seconds = given.minutes * 60
    with ExitStack() as stack:
        if given.sqlite:
            options = options_of(parent, given.runtime, seconds=seconds, seed=given.seed)
        else:
            server = stack.enter_context(running_server(durable=True))
            options = options_on(server, parent, given.runtime, seconds=seconds, seed=given.seed)
        outcome = asyncio.run(_run(Run(options)))
        print(outcome.table())
    if outcome.kept is None:
        shutil.rmtree(parent.parent)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
