"""The one end of a peer that the benchmark talks to: a task per line on standard input, an outcome per line back.

Runs in the peer's own environment, so nothing of the product may be imported here, nor beside.
"""

import json
import sys
import time
from collections.abc import Callable

Outcome = tuple[int, str]
"""Exit status, and the output as far as the peer hands it back."""


def drive(run: Callable[[dict], Outcome]) -> None:
    """Answer tasks until there are no more: each is an image, a command, and a directory to run it in, or null."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        begun = time.perf_counter()
        code, output = run(task)
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "code": code, "output": output}), flush=True)
