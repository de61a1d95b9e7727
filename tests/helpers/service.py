"""The real service as a real process: started, killed and started again as an operator or a power cut would."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.helpers.installation import ROOT
from tests.helpers.waiting import PATIENCE

_URL = re.compile(r"https?://[\w.:\[\]-]+")


class Service:
    """A `ci` command that serves (by default `ci serve`), in a process of its own."""

    def __init__(self, environment: Mapping[str, str], *command: str) -> None:
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self._command = command or ("serve",)
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.said: list[str] = []
        """The lines it wrote to standard error, of all its lives."""
        self._ready = threading.Event()

    def launch(self, *python_arguments: str) -> None:
        """Start the process: the command, or Python with other arguments."""
        self._process = subprocess.Popen(
            [sys.executable, *(python_arguments or ("-m", "ci_cli", *self._command))],
            env=self._environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def start(self, *python_arguments: str) -> "Service":
        """Start the process as `launch` does, and return once it has said where it listens."""
        self._ready.clear()
        self.launch(*python_arguments)
        if not self._ready.wait(90):
            raise AssertionError("the service did not say where it listens:\n" + "".join(self.said))
        return self

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self.said.append(line)
                if match := _URL.search(line):
                    self.url = match[0]
                    self._ready.set()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the service has not been started"
        return self._process

    def kill(self) -> None:
        """Let the process die by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self, *, within: float = PATIENCE) -> int:
        """End the process by SIGTERM and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def close(self) -> None:
        """End the process in any state; may be called twice."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def client(self, **more: Any) -> httpx.Client:
        """Return an HTTP client of the service."""
        return httpx.Client(base_url=self.url, timeout=60, **more)


def containers(prefix: str) -> list[str]:
    """Return the names of the engine's containers, in any state, that begin with `prefix`."""
    listing = ["docker", "ps", "--all", "--filter", f"name=^{prefix}", "--format", "{{.Names}}"]
    return subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Return a zip archive of `files`, by path."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


def tree(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files`, by path, below `directory` and return it."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory
