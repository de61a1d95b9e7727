"""`ci selftest`: tests an installation of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom

from ci_cli.announcement import make_state_directory
from ci_cli.console import Progress, say
from ci_common.configuration.database_address import DatabaseUrl
from ci_common.settings import Settings
from ci_selftest.owned import chosen_runtime, remove_abandoned
from ci_selftest.report import Outcome
from ci_selftest.run import Options, Run

_LOOK_SECONDS = 0.1
_LARGEST_SEED = 10**6


async def selftest(
    *, seconds: float | None, seed: int | None, runtime: str, image: str | None, database: DatabaseUrl | None = None
) -> Outcome:
    """Run a self-test with `seconds` of faults, or with no faults (None), and show its progress on standard error.

    Raises CiError if it cannot begin.
    """
    settings = Settings.from_env()
    parent = make_state_directory() / "selftest"
    for name in await remove_abandoned(parent, settings):
        say(f"removed the remains of an earlier self-test that was killed: {name}")
    options = Options(
        seed=SystemRandom().randrange(_LARGEST_SEED) if seed is None else seed,
        seconds=seconds,
        runtime=await chosen_runtime(runtime, settings),
        image=image or settings.default_image,
        parent=parent,
        database=database,
    )
    run = Run(options)
    say(f"seed {options.seed}, {options.runtime}; the same again: {run.outcome.replay}")
    async with _shown(run):
        try:
            return await run.execute()
        except ExceptionGroup as exc:
            raise _first_of(exc) from exc


def _first_of(error: Exception) -> Exception:
    """Return the first error of a group, which is what made the others end; such as a full disk."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def _shown(run: Run) -> AsyncIterator[None]:
    async def show() -> None:
        while True:
            progress.show(run.line())
            await asyncio.sleep(_LOOK_SECONDS)

    with Progress() as progress:
        showing = asyncio.create_task(show(), name="progress")
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
