"""`ci serve` with a watch on its event loop: `python -m tests.fuzz.watched DIRECTORY INTERPRETER`.

The loop is the standard library's, whose callbacks can be measured one by one; the application, its protocol and its
controller are the usual ones. `DIRECTORY` gets the file `watch`, of callbacks that took too long, and the file `log`,
of what is said on standard error, to be read as soon as it is written. `INTERPRETER` makes the Python environments of
jobs, which then install nothing.
"""

import asyncio
import io
import resource
import sys
from pathlib import Path
from typing import TextIO

from ci_cli.roots.serve import run_server
from ci_common.settings import Settings
from tests.fuzz.watch import Watch, telling

MOST_MEMORY = 4 * 1024**3
"""Address space of the server and its children: an input that wants more fails here and spares the machine."""


class Copied(io.TextIOBase):
    """Standard error, copied to a file."""

    def __init__(self, *targets: TextIO) -> None:
        self._targets = targets

    def write(self, text: str) -> int:
        for target in self._targets:
            target.write(text)
            target.flush()
        return len(text)


async def main(directory: Path) -> None:
    watch = Watch(telling(directory / "watch"))
    with watch.installed():
        watch.beat()
        await run_server(Settings.from_env())


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    sys._base_executable = sys.argv[2]  # type: ignore[attr-defined]
    with Path(sys.argv[1], "log").open("a") as log:
        sys.stderr = Copied(sys.stderr, log)
        asyncio.run(main(Path(sys.argv[1])))
