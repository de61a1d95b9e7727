"""One process of the installation. It is started, killed, paused and stopped, and restarted if it exits by itself."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_BACK_AFTER_SECONDS = 0.5
"""How soon a part that exited by itself is restarted, as a service manager would."""
_LEAVES_WITHIN_SECONDS = 20.0


class Part:
    """A `ci` command in its own process, whose standard error goes to a file.

    Hold `turn` to do something to the process, so that only one thing is done at a time.
    """

    def __init__(self, name: str, command: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.turn = asyncio.Lock()
        """The lock for doing something to the process."""
        self.troubles: list[str] = []
        """Unexpected exits, and signals after which it did not exit."""
        self._command = command
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process's pid, or None if it is not running."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def open(self) -> None:
        """Start the process, and restart it from now on whenever it exits by itself."""
        async with self.turn:
            await self.start()
        self._watch = asyncio.create_task(self._keep_alive(), name=f"watch {self.name}")

    async def leave(self) -> None:
        """Stop the process for good, by SIGTERM."""
        await self._unwatch()
        async with self.turn:
            await self.end(signal.SIGTERM)

    async def close(self) -> None:
        """Kill the process for good."""
        await self._unwatch()
        self._send(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def end(self, number: signal.Signals) -> None:
        """End the process by this signal. Hold `turn` until it is started again."""
        assert self._process is not None, "opened"
        self._send(number)
        try:
            await asyncio.wait_for(self._process.wait(), _LEAVES_WITHIN_SECONDS)
        except TimeoutError:
            self.troubles.append(f"{self.name} did not end within {_LEAVES_WITHIN_SECONDS:.0f} s of {number.name}")
            self._send(signal.SIGKILL)
            await self._process.wait()

    async def pause(self, seconds: float) -> None:
        """Pause the process by SIGSTOP for `seconds`. Hold `turn`."""
        self._send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._send(signal.SIGCONT)

    async def start(self) -> None:
        """Start the process, which is not running. Hold `turn`."""
        with self.log.open("ab") as log:
            log.write(f"--- started at {time.strftime('%H:%M:%S')}\n".encode())
            log.flush()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ci_cli",
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # The user's Ctrl-C must reach only the self-test.
            )

    async def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _keep_alive(self) -> None:
        while True:
            process = self._process
            assert process is not None, "started"
            status = await process.wait()
            async with self.turn:
                if self._process is process:
                    self.troubles.append(f"{self.name} ended by itself with status {status}")
                    await asyncio.sleep(_BACK_AFTER_SECONDS)
                    await self.start()

    def _send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
