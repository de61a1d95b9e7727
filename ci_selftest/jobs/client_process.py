"""Client processes: `ci exec` and `ci submit`, and readers, that are killed and come back to go on where they were."""

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
    """One client. What it received of the log is in the file `received`, over all of its lives."""

    def __init__(self, directory: Path, number: int, environment: Mapping[str, str]) -> None:
        self.received = directory / f"{number}.out"
        self.kills = 0
        self.exit_status: int | None = None
        """Of the last life, once that has ended by itself."""
        self._said = directory / f"{number}.err"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._was_killed = False

    async def run(self, *command: str) -> bool:
        """Run one life to its end; tell whether it ended by itself. `command` is a module of Python and its words."""
        self._was_killed = False
        with self.received.open("ab") as received, self._said.open("ab") as said:
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
        """End the present life by SIGKILL."""
        self.kills += 1
        self._was_killed = True
        self._send_kill()

    async def job_id(self) -> str | None:
        """Return the id of the job as soon as the process has named it; None where it ends without."""
        while True:
            alive = self.is_alive or self._process is None
            match = _JOB.search(self._said.read_bytes()) if self._said.exists() else None
            if match is not None:
                return match[1].decode()
            if not alive:
                return None
            await asyncio.sleep(_LOOK_SECONDS)

    def last_words(self) -> str:
        """Return the end of what it said on standard error."""
        return self._said.read_bytes()[-_SHOWN:].decode(errors="replace").strip()

    def _send_kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
