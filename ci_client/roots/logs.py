"""What server and controller say of themselves, on standard error."""

import logging

from ci_common.settings import Settings

_ROOMS = ("ci_server", "ci_controller", "ci_persistence")


def log_to_stderr(settings: Settings, *, format: str = "%(asctime)s %(levelname)s %(message)s") -> None:  # noqa: A002
    """Let the rooms say as much as `settings.log_level` asks for, and other libraries what is wrong with them."""
    level = settings.log_level.upper()
    logging.basicConfig(format=format, level=max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for room in _ROOMS:
        logging.getLogger(room).setLevel(level)
