"""A controller that is an unprivileged member of the engine's group; run as a program of its own.

`docker_member SOCKET DATA IMAGE` runs a job whose files belong to root, and deletes them. Run by root,
it becomes another user first, once everything is imported.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - imported late by asyncio, from where only root may read
import os
import sys
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from ci_common.system.trees import delete_tree
from ci_controller.policy import WorkloadPhase
from tests.contracts.docker_bench import docker_runtime
from tests.contracts.runtime_suite.trial import Trial, make_spec

MEMBER = 12345
"""A user id that no user has."""
WRITES = (
    "mkdir -p deep/er; echo >deep/er/file; ln -s / root; chmod 0700 deep; umask 077; mkdir .hidden; mkfifo .hidden/f"
)


def become_member(socket: Path, data: Path) -> None:
    """Give up root for a user who is in the group that may use the engine."""
    os.chown(data, MEMBER, MEMBER)
    os.setgroups([socket.stat().st_gid])
    os.setgid(MEMBER)
    os.setuid(MEMBER)


async def main(socket: str, path: str, image: str) -> None:
    data = DataDirectory(Path(path))
    data.create()
    runtime = docker_runtime(data, docker_url=f"unix://{socket}")
    await runtime.open()
    one = Trial(runtime, make_spec(runtime, data, image, WRITES))
    assert (await one.execute()).exit_code == 0
    assert await one.phase() is WorkloadPhase.EXITED
    await runtime.remove(one.key)
    try:
        delete_tree(one.run.path)
    except PermissionError:
        print("cannot be deleted by itself")
    await runtime.delete_tree(one.run.path)
    assert not os.path.lexists(one.run.path)
    print("reclaimed")
    await runtime.close()


if __name__ == "__main__":
    if os.geteuid() == 0:
        become_member(Path(sys.argv[1]), Path(sys.argv[2]))
    asyncio.run(main(*sys.argv[1:]))
