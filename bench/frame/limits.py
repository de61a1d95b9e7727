"""The limits of this machine, measured in the same run as the figures that they bound."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.figures import MIB
from bench.frame.model import Better, LeftOut, Limit
from ci_common.system.watch import FileWatcher, Watched
from tests.engine.images import busybox_layer

MEMORY = "memory"
DISK = "disk"
GATE = "gate"
RUNC = "runc"

_WAITING = 'while :; do read -r line <"$1/gate" && printf "%s\\n" "$line" >>"$1/log"; done'
_RUNC_RUNS = 40
_GATE_SECONDS = 30.0


async def memory_copy() -> Limit:
    """Measure how fast bytes are copied in memory: no stream of bytes is faster."""
    # Small enough for one time slice on a busy machine. Both buffers are allocated before the measurement.
    source, target = memoryview(os.urandom(8 * MIB)), memoryview(bytearray(8 * MIB))

    def copy() -> float:
        begun = time.perf_counter()
        target[:] = source
        return len(source) / 1e6 / (time.perf_counter() - begun)

    return Limit("copying in memory", tuple([copy() for _ in range(100)]), "MB/s", Better.MORE)


async def disk_write() -> Limit:
    """Measure how fast bytes are written to a file, without waiting for the disk."""
    block = os.urandom(MIB)

    def write() -> float:
        with tempfile.TemporaryFile(buffering=0) as file:
            begun = time.perf_counter()
            for _ in range(128):
                file.write(block)
            return 128 * len(block) / 1e6 / (time.perf_counter() - begun)

    samples = await asyncio.to_thread(lambda: tuple(write() for _ in range(5)))
    return Limit("writing a file", samples, "MB/s", Better.MORE)


async def gate() -> Limit:
    """Measure the time to open a FIFO that a process waits at, until inotify reports the line that it writes to a file.

    No job starts faster, even if container, files and database cost nothing.
    """
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        os.mkfifo(place / "gate")
        log = place / "log"
        log.touch()
        waiting = await asyncio.create_subprocess_exec("/bin/sh", "-c", _WAITING, "sh", directory)
        try:
            async with asyncio.timeout(_GATE_SECONDS), FileWatcher() as watcher:
                with watcher.subscribe((log, Watched.CONTENT)) as changes, log.open("rb") as reading:

                    async def one() -> float:
                        begun = time.perf_counter()
                        # Opened for reading, too, so that it does not block.
                        descriptor = os.open(place / "gate", os.O_RDWR)
                        os.write(descriptor, b"go\n")
                        while not reading.read():
                            await changes.wait(1)
                        taken = (time.perf_counter() - begun) * 1000
                        os.close(descriptor)
                        return taken

                    samples = tuple([await one() for _ in range(100)][10:])
        finally:
            waiting.kill()
            await waiting.wait()
    return Limit("opening a FIFO and reading a line by inotify", samples, "ms", Better.LESS)


async def runc_rate() -> Limit:
    """Measure how many containers per second `runc` runs without an engine. Raises LeftOut."""
    runc = shutil.which("runc")
    if runc is None or os.geteuid() != 0:
        raise LeftOut("runc cannot be measured by itself: it is not installed, or this user is not root")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "rootfs")
        root.mkdir()
        layer = await asyncio.to_thread(busybox_layer)
        subprocess.run(["tar", "-x", "-C", root], input=layer, check=True)
        subprocess.run([runc, "spec", "--bundle", directory], check=True)
        spec = Path(directory, "config.json")
        spec.write_text(spec.read_text().replace('"terminal": true', '"terminal": false').replace('"sh"', '"true"'))
        samples = tuple([await _runc_rate(runc, directory, at_once) for at_once in (1, 2, 4)])
    return Limit("`runc run` without an engine", samples, "jobs/s", Better.MORE)


async def _runc_rate(runc: str, bundle: str, at_once: int) -> float:
    left = iter(range(_RUNC_RUNS))

    async def one_after_another() -> None:
        for number in left:
            name = f"bench-{os.getpid()}-{at_once}-{number}"
            process = await asyncio.create_subprocess_exec(
                runc, "run", "--bundle", bundle, name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            if await process.wait():
                raise LeftOut("runc cannot be measured by itself: it runs no container here")

    begun = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    return _RUNC_RUNS / (time.perf_counter() - begun)


MEASURING: dict[str, Callable[[], Awaitable[Limit]]] = {
    MEMORY: memory_copy,
    DISK: disk_write,
    GATE: gate,
    RUNC: runc_rate,
}
