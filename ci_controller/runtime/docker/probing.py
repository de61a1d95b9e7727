"""Runs a probe container, which reports what the engine's containers see and which limits they are held to."""

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_common.run_directory.untrusted_files import read_capped
from ci_common.spec import Limits
from ci_common.system.trees import delete_tree
from ci_common.system.watch import FileWatcher, Watched
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.containers import Mount, probe_config
from ci_controller.runtime.docker.engine import Engine, Traits

LIMITS = Limits(cpus=0.5, memory=64 * 1024**2, pids=32)
"""What the probe is started with."""
ANSWER_SECONDS = 10.0
"""How long a probe may take to answer once it has been started."""
_MOST_BYTES = 4096
_MOUNTED = "/ci-probe"
_FILES = {
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
    "pids": ("pids/pids.max", "pids.max"),
    "quota": ("cpu/cpu.cfs_quota_us", "cpu.max"),
}
"""Where a container finds its own limits below /sys/fs/cgroup, in version 1 and 2."""

_SCRIPT = f"""
cd {_MOUNTED} || exit 1
IFS= read -r ours <ours
IFS= read -r word <gate
exec >theirs
printf 'ours %s\\ngate %s\\n' "$ours" "$word"
for name in {" ".join(f"{name}:{path}" for name, paths in _FILES.items() for path in paths)}; do
    path=/sys/fs/cgroup/${{name#*:}}
    if [ -r "$path" ]; then read -r value rest <"$path"; printf '%s %s\\n' "${{name%%:*}}" "$value"; fi
done
exec >done
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer of a probe container."""

    answered: bool
    """Whether the answer came in time through the mounted directory."""
    reads_ours: bool
    """Whether the container read what this process had written there."""
    through_fifo: bool
    """Whether the container read a word from a FIFO there."""
    notified: bool
    """Whether inotify reported what the container wrote there."""
    memory: int | None
    """The limits that the container found, in bytes, processes and processors; None where it found none."""
    pids: int | None
    cpus: float | None


async def probe(
    engine: Engine, image: str, labels: Mapping[str, str], folder: Path, traits: Traits, confinement: Confinement
) -> Probe:
    """Run a container of `image` with a new directory in `folder`, and return its answer; both are removed again.

    Raises Refusal where the engine cannot create or start it, RuntimeUnavailable, OSError.
    """
    token = secrets.token_hex(8)
    with _directory(folder, token) as directory:
        config = probe_config(image, labels, ["-c", _SCRIPT], Mount(directory, _MOUNTED), LIMITS, traits, confinement)
        async with FileWatcher() as watcher, _started(engine, f"ci-doctor-{token}", config) as begin:
            with watcher.subscribe((directory, Watched.ENTRIES)) as changes, _opened_gate(directory / "gate"):
                await begin()
                answered, notified = await _answer(directory, changes)
        return _read(directory, token, answered=answered, notified=notified)


async def _answer(directory: Path, changes: Any) -> tuple[bool, bool]:
    """Return whether the answer came, and whether inotify reported a change."""
    deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
    notified = False
    while not os.path.lexists(directory / "done"):
        if asyncio.get_running_loop().time() > deadline:
            return False, notified
        notified = await changes.wait(0.2) or notified
    return True, notified or await changes.wait(0.2)


@contextmanager
def _directory(folder: Path, token: str) -> Iterator[Path]:
    """Yield a directory that any user may write to; the folder above decides who can reach it."""
    directory = Path(tempfile.mkdtemp(prefix=".ci-doctor-", dir=folder))
    try:
        directory.chmod(0o777)
        (directory / "ours").write_text(f"{token}\n")
        (directory / "ours").chmod(0o644)
        os.mkfifo(directory / "gate")
        (directory / "gate").chmod(0o666)
        yield directory
    finally:
        with contextlib.suppress(OSError):
            delete_tree(directory)


@contextmanager
def _opened_gate(gate: Path) -> Iterator[None]:
    descriptor = os.open(gate, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"go\n")
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _started(engine: Engine, name: str, config: dict[str, Any]) -> AsyncIterator[Any]:
    """Yield a function that starts the container, which is removed at the end even if no answer confirmed it."""
    try:
        async with engine.call() as docker:
            container = await docker.containers.create(config, name=name)

        async def begin() -> None:
            async with engine.call():
                await container.start()

        yield begin
    finally:
        await engine.remove_container(name)


def _read(directory: Path, token: str, *, answered: bool, notified: bool) -> Probe:
    said: dict[str, str] = {}
    if answered:
        lines = (read_capped(directory / "theirs", _MOST_BYTES) or b"").decode(errors="replace").splitlines()
        said = dict(line.split(" ", 1) for line in lines if " " in line)
    quota = _number(said.get("quota"))
    return Probe(
        answered=answered,
        reads_ours=said.get("ours") == token,
        through_fifo=said.get("gate") == "go",
        notified=notified,
        memory=_number(said.get("memory")),
        pids=_number(said.get("pids")),
        cpus=None if quota is None else quota / 100_000,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
