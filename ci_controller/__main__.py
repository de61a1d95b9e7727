"""`python -m ci_controller`: a controller on its own."""

import asyncio

from ci_common.settings import Settings
from ci_common.system.reporting import log_to_stderr
from ci_controller.main import run_controller

if __name__ == "__main__":
    settings = Settings.from_env()
    log_to_stderr(settings.log_level)
    asyncio.run(run_controller(settings))
