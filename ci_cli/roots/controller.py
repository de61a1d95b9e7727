"""`ci controller`: the controller alone, for an API that runs with CI_CONTROLLER=off."""

from ci_cli.roots.parts import server_parts
from ci_common.settings import Settings
from ci_common.system.descriptors import allow_many_descriptors
from ci_common.system.reporting import log_to_stderr
from ci_common.system.thread_switching import take_short_turns


async def run(settings: Settings) -> None:
    """Carry jobs out until SIGTERM or SIGINT. Raises ServerPartsMissing."""
    with server_parts():
        from ci_controller.main import run_controller

    log_to_stderr(settings.log_level)
    allow_many_descriptors()
    take_short_turns()
    await run_controller(settings)
