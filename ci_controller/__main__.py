"""`python -m ci_controller`: a controller on its own."""

import asyncio
import logging

from ci_common.settings import Settings
from ci_controller.main import run_controller

if __name__ == "__main__":
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run_controller(settings))
