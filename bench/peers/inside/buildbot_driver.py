"""Submits to Buildbot as `buildbot sendchange` does, without starting a program for it."""

import json
import os
import socket
import threading
import time

from buildbot.clients.sendchange import Sender
from driver import Outcome, drive
from twisted.internet import reactor, threads

address = f"127.0.0.1:{os.environ['BENCH_PORT']}"
sender = Sender(address, auth=("bench", "bench"))
ends = open(os.environ["BENCH_ENDS"])  # noqa: SIM115
_changes = iter(range(10**9))


def submit(task: dict) -> Outcome:
    """Return the result of the build that the change has caused."""
    change = {
        "branch": "main",
        "revision": str(next(_changes)),
        "comments": "measured",
        "files": ["file"],
        "who": "bench",
        "properties": {"task": json.dumps(task)},
    }
    threads.blockingCallFromThread(reactor, sender.send, **change)
    return int(ends.readline()), ""


def wait_for_master() -> None:
    """Return once the master listens."""
    host, port = address.split(":")
    for _ in range(600):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("Buildbot's master does not listen")


def talk() -> None:
    """Drive, then let the reactor end."""
    try:
        wait_for_master()
        drive(submit)
    finally:
        reactor.callFromThread(reactor.stop)


if __name__ == "__main__":
    threading.Thread(target=talk).start()
    reactor.run(installSignalHandlers=False)
