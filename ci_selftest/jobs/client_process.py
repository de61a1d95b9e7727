"""Client processes (`ci exec`, `ci submit` and readers) that are killed, restarted, and resume where they were."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_JOB = re.compile(rb"ci: job ([0-9a-f-]{36})\n")
_LOOK_SECONDS = 0.05
_SHOWN = 2000


class ClientProcess:
    """One client. The file `received` holds the log that it received, over all restarts."""

    def __init__(self, directory: Path, number: int, environment: Mapping[str, str]) -> None:
        self.received = directory / f"{number}.out"
        self.exit_status: int | None = None
        """The exit status of the last process, if it ended by itself."""
        self._stderr = directory / f"{number}.err"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._was_killed = False

    async def run(self, *command: str) -> bool:
        """Run a process to its end, and return whether it ended by itself. `command` is a module and its arguments."""
        self._was_killed = False
        with self.received.open("ab") as received, self._stderr.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=received,
                stderr=said,
                start_new_session=True,
            )
        try:
            status = await self._process.wait()
        finally:
            self._send_kill()
        if self._was_killed:
            return False
        self.exit_status = status
        return True

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def kill(self) -> None:
        """Kill the process by SIGKILL."""
        self._was_killed = True
        self._send_kill()

    async def job_id(self) -> str | None:
        """Return the job's id as soon as the process prints it; None if it ends without."""
        while True:
            alive = self.is_alive or self._process is None
            match = _JOB.search(self._stderr.read_bytes()) if self._stderr.exists() else None
            if match is not None:
                return match[1].decode()
            if not alive:
                return None
            await asyncio.sleep(_LOOK_SECONDS)

    def stderr_tail(self) -> str:
        """Return the end of its standard error."""
        return self._stderr.read_bytes()[-_SHOWN:].decode(errors="replace").strip()

    def _send_kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
