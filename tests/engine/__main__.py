"""Run a command with a Docker engine, the tests' images and PostgreSQL at hand; exits as the command does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.engine import images
from tests.engine.api import EngineAPI, EngineError, find_engine
from tests.engine.daemon import private_engine
from tests.engine.packages import can_install, install_packages


@contextmanager
def provided_engine() -> Iterator[EngineAPI | None]:
    """Give the engine that answers, or a private one, or None where there can be none. Raises EngineError."""
    found = find_engine()
    if found is not None:
        _say(f"using the Docker engine at {found.url}")
        yield found
    elif can_install():
        _say("no Docker engine answers: starting a private one")
        with private_engine() as engine:
            yield engine
        _say("the private Docker engine is stopped")
    elif os.environ.get("CI"):
        raise EngineError("no Docker engine answers, and only root on Debian can start one here")
    else:
        yield None


def provide_packages() -> None:
    """Install PostgreSQL, PgBouncer and Chromium where they are missing.

    Raises EngineError where CI is set and that fails.
    """
    if not can_install():
        return
    try:
        install_packages(["postgresql", "pgbouncer", "chromium", "fonts-dejavu-core"])
    except EngineError as error:
        if os.environ.get("CI"):
            raise
        _say(f"the tests that need them are left out: {error}")


def run(command: list[str]) -> int:
    """Run `command` with DOCKER_HOST set. Returns its exit status."""
    provide_packages()
    with provided_engine() as engine:
        environment = dict(os.environ)
        if engine is not None:
            environment["DOCKER_HOST"] = engine.url
            images.build_all(engine)
        return _exit_status(command, environment)


def _exit_status(command: list[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(command, env=environment) as process:
        while True:
            try:
                status = process.wait()
                return status if status >= 0 else 128 - status
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)  # The terminal may have sent it already; it does no harm twice.


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"tests.engine: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tests.engine COMMAND [ARGUMENT...]")
    try:
        sys.exit(run(sys.argv[1:]))
    except EngineError as error:
        sys.exit(f"tests.engine: {error}")
