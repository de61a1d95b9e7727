"""Finds out when a service is ready: by a command in its container, or by a port that takes connections."""

import asyncio
import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ci_common.spec_parts.services import Health
from ci_controller.runtime.docker.engine import Engine, Refusal

FIRST_PAUSE = 0.03
LONGEST_PAUSE = 1.0
"""Seconds between two checks of a service that is not ready; they grow by half each time."""
CONNECT_SECONDS = 0.5
_UNROUTED = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM})

_LISTENS = """
for table in /proc/net/tcp /proc/net/tcp6; do
    while read -r number address rest; do
        case $address in
        0100007F:* | 00000000000000000000000001000000:*) continue ;;
        *:%04X) set -- $rest ;;
        *) continue ;;
        esac
        [ "$2" != 0A ] || exit 0
    done <$table
done 2>/dev/null
exit 1
"""
"""Looks for a port that is listened on, not only for the service itself, with nothing but a shell."""


@dataclass(frozen=True, slots=True)
class Check:
    """What shows that a service is ready; with neither, it is once it runs. `str()` says it to people."""

    command: tuple[str, ...] = ()
    port: int | None = None

    def __str__(self) -> str:
        if self.port is not None:
            return f"nothing took connections at its port {self.port}"
        return f"{' '.join(self.command)} did not exit with 0" if self.command else "it did not run"


def check_of(health: Health | None, of_image: tuple[str, ...]) -> Check:
    """Return the check of a service with this `health`, whose image has the check `of_image`, or none."""
    if health is None:
        return Check(of_image)
    if health.port is not None:
        return Check(port=health.port)
    command = health.command
    return Check(("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command or ()))


def check_of_image(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the command of an image's HEALTHCHECK, from its configuration; empty if it has none."""
    test = list((config.get("Healthcheck") or {}).get("Test") or ())
    match test[:1]:
        case ["CMD"]:
            return tuple(test[1:])
        case ["CMD-SHELL"]:
            return (*(config.get("Shell") or ("/bin/sh", "-c")), *test[1:])
    return ()


async def until_ready(engine: Engine, container: str, check: Check) -> bool:
    """Return True once the container of a service passes `check`, False where it does not run. RuntimeUnavailable."""
    pause = FIRST_PAUSE
    while True:
        address = await _address(engine, container)
        if address is None:
            return False
        if await _passes(engine, container, check, address):
            return True
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 1.5 * pause)


async def _address(engine: Engine, container: str) -> str | None:
    """Return the address of a container that runs, or None."""
    async with engine.call() as docker:
        inspected = await docker.containers.container(container).show()
    if not inspected["State"]["Running"]:
        return None
    return next((each["IPAddress"] for each in inspected["NetworkSettings"]["Networks"].values()), "")


async def _passes(engine: Engine, container: str, check: Check, address: str) -> bool:
    if check.command:
        return await _exits_with_0(engine, container, list(check.command))
    if check.port is None:
        return True
    connects = await _connects(address, check.port)
    if connects is None:  # As from within another container.
        return await _exits_with_0(engine, container, ["/bin/sh", "-c", _LISTENS % check.port])
    return connects


async def _connects(address: str, port: int) -> bool | None:
    """Return whether a connection is taken; None if there is no way there from here."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return None
    except OSError as exc:
        return None if exc.errno in _UNROUTED else False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def _exits_with_0(engine: Engine, container: str, command: list[str]) -> bool:
    """Return whether `command` does so in the container. It may take as long as the caller waits."""
    try:
        async with engine.call(None) as docker:
            process = await docker.containers.container(container).exec(command, stdout=True, stderr=True)
            async with process.start(detach=False) as output:
                while await output.read_out() is not None:
                    pass
            return bool((await process.inspect())["ExitCode"] == 0)
    except Refusal:  # It has just ended, or has no such program.
        return False
