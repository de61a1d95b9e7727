"""The embedded server: the API and a controller in this process, behind a Unix socket in a private directory."""

import asyncio
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ci_cli.announcement import make_state_directory
from ci_cli.unexpected import is_debugging, save_report
from ci_client.errors import StateUnavailable
from ci_client.escapes import visible
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.reporting import log_to_stderr
from ci_common.system.tasks import background_task
from ci_common.system.trees import delete_tree
from ci_controller.environments.builds import staged
from ci_server.app import create_app
from ci_server.connections.serving import serve

_LONGEST_PARENT = 70
_PREFIX = "ci-embedded-"
_LOCKED_WITHIN_SECONDS = 10.0


def embedded_settings(*, carries_jobs: bool) -> Settings:
    """Return the settings of an embedded server: the environment's, its database in the state directory, no pool."""
    # Warm containers would outlive the only job there is.
    overrides: dict[str, Any] = {"pool_size": 0}
    if os.environ.get("CI_DATABASE_URL"):
        if not os.environ.get("CI_DATA_DIR"):
            overrides["data_dir"] = make_state_directory() / "ci_jobs.data"
    elif not os.environ.get("CI_DB_PATH"):
        overrides["db_path"] = make_state_directory() / "ci_jobs.db"
    if not os.environ.get("CI_LOG_LEVEL"):
        overrides["log_level"] = "error"
    if not carries_jobs:
        overrides["controller"] = "off"
    return Settings.from_env(**overrides)


@asynccontextmanager
async def embedded_server(*, carries_jobs: bool) -> AsyncIterator[str]:
    """Serve while the block runs, and yield the server's URL. Jobs go on after the block.

    If the server ends by itself, the block is cancelled and the server's error is raised. Also raises SettingsError and
    StateUnavailable.
    """
    settings = embedded_settings(carries_jobs=carries_jobs)
    log_to_stderr(
        settings.log_level, form="ci: %(message)s", instead_of_traceback=None if is_debugging() else _saved_report
    )
    with _private_directory() as directory:
        socket = directory / "api.sock"
        ready = asyncio.Event()
        serving = serve(
            create_app(settings, private=True),
            uds=socket,
            on_ready=lambda url: ready.set(),  # noqa: ARG005  # the socket's name is known
            install_signal_handlers=False,
        )
        async with background_task(serving, name="embedded server"):
            await ready.wait()
            yield f"unix://{socket}"
    if carries_jobs and staged(DataDirectory(settings.data_path)):
        _prepare_apart(settings)


def _prepare_apart(settings: Settings) -> None:
    """Have a controller of its own prepare the environments that are still to be made, while the command ends."""
    own = {"CI_DB_PATH": str(settings.db_path), "CI_DATA_DIR": str(settings.data_path), "CI_POOL_SIZE": "0"}
    with suppress(OSError):  # The next command that runs a job does it.
        subprocess.Popen(
            [sys.executable, "-m", "ci_cli", "controller", "--until-prepared"],
            env={**os.environ, **own, "CI_LOG_LEVEL": "error"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )


def _saved_report(error: BaseException) -> str:
    return "ci: " + visible(save_report(error, "embedded server"))


@contextmanager
def _private_directory() -> Iterator[Path]:
    """Yield a temporary directory that is closed to other users, with a path short enough for a socket in it.

    This process locks it while it lives, so that directories of killed processes can be recognised and removed.
    """
    usual = _usual_place()
    parent = Path("/tmp" if len(usual) > _LONGEST_PARENT else usual)  # noqa: S108
    _remove_abandoned(parent)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
        finally:
            os.close(lock)
    finally:
        with suppress(OSError):
            delete_tree(directory)


def _usual_place() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as exc:
        raise StateUnavailable(
            f"there is no directory for temporary files: {exc}; set TMPDIR to another place"
        ) from exc


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # It is another user's, or was just removed.
            status = directory.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _LOCKED_WITHIN_SECONDS:
                continue
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                delete_tree(directory)
            finally:
                os.close(lock)
