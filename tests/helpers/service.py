"""The real service and the real command line as processes, and what they answer."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx

from ci_cli.main import run_cli
from ci_client.aio import CiClient
from ci_client.errors import ClientError
from ci_common.wire.stream import LOG, Event
from tests.helpers.installation import ROOT
from tests.helpers.scripted_server import ScriptedServer, wait_until
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


# What tests want to know of a job over HTTP.


async def until(
    client: CiClient, job_id: str, enough: Callable[[Event], bool], *, within: float = PATIENCE
) -> list[Event]:
    """Return a job's events from its beginning up to the first of which `enough` is true."""
    seen: list[Event] = []
    async with asyncio.timeout(within):
        async for event in client.stream(job_id):
            seen.append(event)
            if enough(event):
                return seen
    raise AssertionError(f"the stream of {job_id} ended first: {seen[-3:]}")


def says(text: str) -> Callable[[Event], bool]:
    """Return a condition for `until`: the event is log text that contains `text`."""
    return lambda event: event["type"] == LOG and text in event["data"]


def waits_for(code: str) -> Callable[[Event], bool]:
    """Return a condition for `until`: the event says that the job waits for this reason."""
    return lambda event: event["type"] == "status" and (event["reason"] or {}).get("code") == code


async def finished(client: CiClient, job_id: str, *, within: float = PATIENCE) -> dict[str, Any]:
    """Return the job once it has completed."""
    await until(client, job_id, lambda event: event["type"] == "complete", within=within)
    return await client.get_job(job_id)


async def text_of(client: CiClient, job_id: str) -> str:
    """Return the log as it is now, as text."""
    return b"".join([chunk async for chunk in client.log(job_id)]).decode()


async def answers(client: CiClient) -> bool:
    """Tell whether the server answers."""
    try:
        return bool((await client.health())["status"] == "ok")
    except ClientError:
        return False


# Answers that say what was wrong.


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "code"} <= document.keys()
    return dict(document)


def paths(document: dict[str, Any]) -> list[str]:
    return [error["path"] for error in document["errors"]]


# The command `ci` against a scripted server, in this process or in one of its own.

SCRIPTED_LOG = b"caf\xe9 \xff\x00\n" + "ünïcödé 🥊\r\n".encode() * 3 + b"no newline at the end"
"""Bytes that are no text, text that is no ASCII, and an end without a newline."""


def ci(server: ScriptedServer, *args: str | Path) -> int:
    command, *rest = map(str, args)
    return run_cli([command, "--server", server.url, *rest])


@contextmanager
def started(server: ScriptedServer, *args: str | Path, **kwargs: object) -> Iterator[subprocess.Popen[bytes]]:
    command, *rest = map(str, args)
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_cli.main", command, "--server", server.url, *rest],
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs},  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# `ci` as people run it: each command a process of its own, its outputs read line by line.

Terminal = subprocess.Popen[bytes]
Start = Callable[..., Terminal]


@contextmanager
def terminals(environment: Mapping[str, str]) -> Iterator[Start]:
    """Give a function that starts `ci`: `start(*arguments, **settings)`, in the directory `cwd` if that is given.

    `stdin` is a file that it reads as its standard input.
    What still runs at the end is ended.
    """
    started: list[Terminal] = []

    def start(*args: str | Path, cwd: Path | None = None, stdin: Path | None = None, **settings: str) -> Terminal:
        with open(stdin or os.devnull, "rb") as given:
            return begun(args, cwd, given, settings)

    def begun(args: Sequence[str | Path], cwd: Path | None, given: IO[bytes], settings: Mapping[str, str]) -> Terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "ci_cli", *map(str, args)],
            env={**os.environ, **environment, **settings, "PYTHONPATH": str(ROOT)},
            cwd=cwd,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # What has been read ahead would be lost to communicate().
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=PATIENCE)


def ended(process: Terminal) -> tuple[int, bytes, str]:
    """Return a command's exit status and what is left of its outputs, once it has ended. No output has a traceback."""
    out, err = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out, err.decode()


def next_line(process: Terminal) -> bytes:
    """Return the next line of a command's standard output."""
    assert process.stdout is not None
    return process.stdout.readline()


def said(process: Terminal, text: str) -> str:
    """Return the line of a command's standard error that has `text` in it, once it is there."""
    assert process.stderr is not None
    lines = process.stderr
    found = b""

    def look() -> bool:
        nonlocal found
        found = lines.readline()
        assert found, f"standard error ended without {text!r}"
        return text.encode() in found

    wait_until(look)
    return found.decode()


def interrupt(process: Terminal) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)
