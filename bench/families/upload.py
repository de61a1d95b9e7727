"""Uploads of 20,000 files of 500 MB: all of them, none changed, one changed; in turns with rsync, and zip with curl."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.families.packing import make_tree
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, LeftOut, Series
from bench.server import serving
from ci_common.manifests.session import spare_workspace
from ci_common.run_directory.attributes import make_place_of_trees

NAME = "upload"
TITLE = "Uploads, of what has changed"

FILES = 20_000
BYTES = 500_000_000
SPARE_SECONDS = 120.0
"""How long a spare workspace may take on a busy machine. After that, the figures are those without one."""
REST_SECONDS = 370.0
"""For so long, ext4 looks at each inode that was deleted before it takes one beside it: that slows whichever program it
places there."""
_KINDS = {"full": "all of it", "unchanged": "nothing changed", "one": "one file changed"}
_ROUNDS = 3
"""How often a sample uploads what has hardly changed, with the programs in turns."""
_ONCE = "`zip` and `curl`"
"""The program that sends everything each time, and so is measured once."""
_RSYNC = """use chroot = no
port = {port}
address = 127.0.0.1
[uploads]
path = {path}
read only = no
uid = {uid}
gid = {gid}
"""


@dataclass
class Samples:
    """Seconds and bytes of one program, by kind."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    bytes: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})


Upload = Callable[[int, int], Awaitable[None]]
"""Uploads the tree once; takes the number of the sample and the port to send it to."""


async def measure(lab: Lab) -> list[Figure]:
    """Measure the programs one after the other, on the same tree, sample by sample."""
    for program, package in (("rsync", "rsync"), ("zip", "zip"), ("curl", "curl")):
        if shutil.which(program) is None:
            raise LeftOut(f"there is no `{program}`: apt-get install {package}")
    files = lab.samples(FILES, 2000)
    tree = lab.directory / "tree"
    await asyncio.to_thread(make_tree, tree, "source", files=files, size=BYTES * files // FILES)
    (tree / "ci.yaml").write_text("command: 'true'\n")
    make_place_of_trees(lab.directory / "received")  # So that what was deleted before slows neither side.
    found = {name: Samples() for name in ("ci-server", "`rsync -az`", "`rsync -a`", _ONCE)}
    lab.say("waiting until no deletion slows the disk")
    await asyncio.sleep(0 if lab.quick else REST_SECONDS)
    async with _rsync_daemon(lab.directory) as rsync_port:
        for sample in range(lab.samples(3, 1)):
            lab.say(f"sample {sample + 1}")
            data = lab.directory / f"data{sample}"
            with serving(CI_CONTROLLER="off", CI_DATA_DIR=str(data)) as service:
                port = int(service.url.rpartition(":")[2])
                contenders: dict[str, tuple[Upload, int]] = {
                    "ci-server": (_ours(lab, tree), port),
                    "`rsync -az`": (_rsync(tree, "-az"), rsync_port),
                    "`rsync -a`": (_rsync(tree, "-a"), rsync_port),
                    _ONCE: (_zipped(lab, tree), port),
                }
                await _sample(lab, tree, sample, contenders, found, data)
    lab.note(
        f"{files:,} files of {BYTES * files / FILES / 1e6:.0f} MB of source code. A sample is a program from its start "
        "to its end: `ci submit --detach`, which ends when the job is stored and its workspace is complete; rsync to "
        "a daemon, which does not wait for the disk; `zip -qr` and `curl` to `POST /submit-async`. All go through a "
        "proxy that counts the bytes of both directions. The spare workspace has been made before the second and the "
        "third upload, as it is while a job runs. A sample begins once what was written before is on the disk, and the "
        "first one after six minutes without deletions."
    )
    return list(_figures(found))


async def _sample(
    lab: Lab,
    tree: Path,
    sample: int,
    contenders: dict[str, tuple[Upload, int]],
    found: dict[str, Samples],
    data: Path,
) -> None:
    order = list(contenders)
    for kind in _KINDS:
        for number in range(1 if kind == "full" else lab.samples(_ROUNDS, 1)):
            if kind == "one":
                path = tree / "package1" / "part1" / "file1.py"
                path.write_bytes(path.read_bytes() + f"# {sample} {number}\n".encode())
                await asyncio.sleep(2.1)  # As people need for it. What is younger is read again.
            for name in order:
                if name != _ONCE or number == 0:
                    await _measured(sample, kind, contenders[name], found[name])
                if name == "ci-server":
                    await _spare_made(lab, data)
            order.reverse()


async def _measured(sample: int, kind: str, contender: tuple[Upload, int], samples: Samples) -> None:
    upload, port = contender
    await asyncio.to_thread(os.sync)
    async with _counting(port) as (own_port, count):
        begun = time.perf_counter()
        await upload(sample, own_port)
        samples.seconds[kind].append(time.perf_counter() - begun)
    samples.bytes[kind].append(sum(count))


async def _spare_made(lab: Lab, data: Path) -> None:
    """Wait until the last upload has a spare workspace, as long as one is being made."""
    deadline = time.monotonic() + SPARE_SECONDS
    while time.monotonic() < deadline:
        job = max(path.parent for path in data.glob("jobs/*/upload"))
        if spare_workspace(job).exists():
            return
        await asyncio.sleep(0.05)
    lab.note("A spare workspace was not made in time.")


def _ours(lab: Lab, tree: Path) -> Upload:
    async def upload(sample: int, port: int) -> None:
        # The client remembers uploads by server, so each sample has a memory of its own, and the proxy a fixed port.
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(lab.directory / "cache" / str(sample)),
            "CI_SERVER_URL": f"http://127.0.0.1:{port}",
        }
        await _run(sys.executable, "-m", "ci_cli", "submit", "--detach", tree, environment=environment)

    return upload


def _rsync(tree: Path, options: str) -> Upload:
    async def upload(sample: int, port: int) -> None:
        await _run("rsync", options, f"{tree}/", f"rsync://127.0.0.1:{port}/uploads/{sample}{options}/")

    return upload


def _zipped(lab: Lab, tree: Path) -> Upload:
    archive = lab.directory / "project.zip"

    async def upload(_: int, port: int) -> None:
        archive.unlink(missing_ok=True)
        await _run("zip", "-qr", archive, ".", directory=tree)
        await _run(
            *("curl", "-sSf", "-o", lab.directory / "answer", "-F", f"file=@{archive}"),
            f"http://127.0.0.1:{port}/submit-async",
        )

    return upload


async def _run(*command: str | Path, directory: Path | None = None, environment: dict[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said.decode()[-500:]}")


@contextlib.asynccontextmanager
async def _rsync_daemon(directory: Path) -> AsyncIterator[int]:
    """Run an rsync daemon that takes uploads; yield its port."""
    with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as free:
        port = int(free.sockets[0].getsockname()[1])
    config = directory / "rsyncd.conf"
    config.write_text(_RSYNC.format(port=port, path=directory / "received", uid=os.geteuid(), gid=os.getegid()))
    process = await asyncio.create_subprocess_exec("rsync", "--daemon", "--no-detach", f"--config={config}")
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
        yield port
    finally:
        process.terminate()
        await process.wait()


_PROXY_PORTS: dict[int, int] = {}
"""By port of a server, the port of the proxy before it: the same for all samples."""


@contextlib.asynccontextmanager
async def _counting(port: int) -> AsyncIterator[tuple[int, list[int]]]:
    """Pass connections on to a port; yield the own port, and how many bytes have passed in each direction."""
    count = [0, 0]

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 20):
                count[way] += len(chunk)
                writer.write(chunk)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        try:
            await asyncio.gather(passed(reader, to_there, 0), passed(there, writer, 1))
        finally:
            to_there.close()
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", _PROXY_PORTS.get(port, 0), limit=1 << 22)
    own_port = _PROXY_PORTS[port] = int(server.sockets[0].getsockname()[1])
    async with server:
        yield own_port, count


def _figures(found: dict[str, Samples]) -> list[Figure]:
    figures = []
    ours = found.pop("ci-server")
    for name, theirs in found.items():
        key = re.sub(r"[^a-z]", "", name.replace("-az", "compressed"))
        for kind, title in _KINDS.items():
            for unit, own, other in (("s", ours.seconds, theirs.seconds), ("MB", ours.bytes, theirs.bytes)):
                scale = 1e6 if unit == "MB" else 1.0
                series = (
                    Series(who, tuple(value / scale for value in values[kind]))
                    for who, values in (("ci-server", own), (name, other))
                )
                figures.append(
                    Figure(
                        f"upload.{kind}.{'seconds' if unit == 's' else 'bytes'}.{key}",
                        f"upload, {title}",
                        unit,
                        Better.LESS,
                        *series,
                        exact=unit == "MB",
                    )
                )
    return figures
