"""`ci serve` with a watch on its event loop: `python -m tests.fuzz.watched FILE INTERPRETER`.

The loop is the standard library's, whose callbacks can be measured one by one; the application, its protocol and its
controller are the usual ones. `INTERPRETER` makes the Python environments of jobs, which then install nothing.
"""

import asyncio
import resource
import sys

from ci_client.roots.serve import run_server
from ci_common.settings import Settings
from tests.fuzz.watch import Watch, telling

MOST_MEMORY = 4 * 1024**3
"""Address space of the server and its children: an input that wants more fails here and spares the machine."""


async def main(file: str) -> None:
    watch = Watch(telling(file))
    with watch.installed():
        watch.beat()
        await run_server(Settings.from_env())


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    sys._base_executable = sys.argv[2]  # type: ignore[attr-defined]
    asyncio.run(main(sys.argv[1]))
