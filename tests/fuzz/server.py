"""The service under test: a process of its own, with a watch inside and looks from outside."""

import asyncio
import json
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from ci_persistence.open import sqlite_storage
from ci_selftest.scratch import Scratch, kill_processes_of
from tests.fuzz.client import Answer, Enough, send
from tests.fuzz.message import COMPLETED, RUNNING, Message
from tests.fuzz.usage import Usage, processor_seconds, usage_of
from tests.helpers.keys import stored_key
from tests.helpers.service import Service
from tests.helpers.waiting import PATIENCE

LINES = 200
"""How many lines the completed job's log has."""
_TOOL = "#!/bin/sh\nexit 0\n"
_INTERPRETER = '#!/bin/sh\nmkdir -p "$3/bin"\nfor tool in python pip; do cp "${0%/*}/pip" "$3/bin/$tool"; done\n'


class WatchedServer:
    """`ci serve` with the process runtime, below one directory; started again on new paths where it had to be killed.

    Python and pip are stand-ins for its jobs: what strangers' projects name is never installed.
    """

    def __init__(self, directory: Path, *, has_keys: bool = False) -> None:
        """With `has_keys`, requests need a key, and those that have none are sent with that of an administrator."""
        self._directory = directory
        self._has_keys = has_keys
        self._key = ""
        self._tools = directory / "tools"
        self._tools.mkdir(parents=True)
        for name, text in {"python": _TOOL, "python3": _TOOL, "pip": _TOOL, "interpreter": _INTERPRETER}.items():
            (self._tools / name).write_text(text)
            (self._tools / name).chmod(0o755)
        self._lives = 0
        self._service: Service | None = None
        self.names: dict[str, str] = {}
        """The ids of the jobs that inputs name by placeholders."""

    @property
    def place(self) -> Path:
        """The directory of the present life."""
        return self._directory / f"life-{self._lives}"

    @property
    def service(self) -> Service:
        assert self._service is not None, "the server has not been started"
        return self._service

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.service.url)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    def start(self) -> None:
        """Start the server, or another one where one lives. Both jobs are there when this returns."""
        self.close()
        self._lives += 1
        self.place.mkdir()
        self._told, self._heard = 0, 0
        if self._has_keys:
            self._key = asyncio.run(_first_key(self.place / "ci_jobs.db"))
        self._service = Service(
            {
                "CI_DB_PATH": str(self.place / "ci_jobs.db"),
                "CI_RUNTIME": "process",
                "CI_LOG_LEVEL": "warning",
                "CI_RATE_SUBMISSIONS": "none",
                "CI_RECONCILE_INTERVAL": "1",
                "CI_STOP_GRACE": "1",
                "MAX_CONCURRENCY": "8",
                "MAX_QUEUED": "100000",
                "PATH": f"{self._tools}:/usr/local/bin:/usr/bin:/bin",
                "PIP_NO_INDEX": "1",
                "PORT": "0",
                "XDG_STATE_HOME": str(self.place / "state"),
            }
        )
        self._service.start("-m", "tests.fuzz.watched", str(self.place), str(self._tools / "interpreter"))
        text = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done"
        ticks = "while :; do echo tick; sleep 0.05; done"
        self.names = {COMPLETED: self.submitted(text), RUNNING: self.submitted(ticks)}
        self._await_end(self.names[COMPLETED])

    def close(self) -> None:
        """Kill the server, and the jobs of its present life."""
        if self._service is not None:
            self._service.close()
            kill_processes_of(Scratch(self.place))
            # Logs may be kept from being removed, and folders are too deep for what Python removes by recursion.
            subprocess.run(["chattr", "-f", "-R", "-a", self.place], check=False)
            subprocess.run(["rm", "-rf", self.place], check=True)

    def submitted(self, command: str) -> str:
        """Submit a shell command and return the job's id."""
        body = json.dumps({"command": command, "timeout": "1d"}).encode()
        answer = self.ask(Message("POST", "/jobs", (), body))
        assert answer.status == 202, answer
        return str(answer.document()["job_id"])

    def _await_end(self, job_id: str) -> None:
        answer = self.ask(Message("GET", f"/jobs/{job_id}/stream"))
        assert b'"complete"' in answer.body, answer

    def ask(self, message: Message, enough: Enough | None = None) -> Answer:
        """Send an input and return the answer."""
        host, port = self.address
        data = message.encoded(f"{host}:{port}", self.names, self._key)
        return send(self.address, data, may_be_half=message.raw is not None, enough=enough)

    def get(self, target: str) -> Answer:
        return self.ask(Message("GET", target))

    @property
    def lives(self) -> bool:
        return self.service.process.poll() is None

    def slow(self) -> list[tuple[float, str]]:
        """Return the callbacks that were too long since the last call: seconds, and what it was."""
        told, self._told = _read_on(self.place / "watch", self._told)
        return [tuple(json.loads(line)) for line in told.splitlines()]

    def complaints(self) -> str:
        """Return what the server wrote to its log since the last call."""
        text, self._heard = _read_on(self.place / "log", self._heard)
        return text.decode(errors="replace")

    def processor_seconds(self) -> float:
        return processor_seconds(self.service.process.pid)

    def usage(self) -> Usage:
        return usage_of(self.service.process.pid, self.place / "ci_jobs.data" / "incoming")

    def settled(self, before: Usage) -> list[str]:
        """Return what has grown since `before` and does not go back."""
        deadline = time.monotonic() + PATIENCE
        while grown := self.usage().grown(before):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return grown


async def _first_key(database: Path) -> str:
    storage = sqlite_storage(database)
    await storage.open()
    try:
        return await stored_key(storage)
    finally:
        await storage.close()


def _read_on(path: Path, place: int) -> tuple[bytes, int]:
    """Return the whole lines of a file from a place in it on, and the place behind them."""
    with path.open("rb") as file:
        file.seek(place)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return whole, place + len(whole)
