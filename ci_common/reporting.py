"""What server and controller say about themselves, on standard error."""

import logging

ROOMS = ("ci_client", "ci_common", "ci_controller", "ci_persistence", "ci_selftest", "ci_server")


def log_to_stderr(level: str, *, form: str = "%(asctime)s %(levelname)s %(name)s: %(message)s") -> None:
    """Write log lines to standard error: our own from `level` on, those of libraries from warnings on."""
    logging.basicConfig(format=form)
    for room in ROOMS:
        logging.getLogger(room).setLevel(level.upper())
