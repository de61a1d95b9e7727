"""Submits to RQ, and waits for the result without polling."""

import os

import redis
from container import run_container
from driver import Outcome, drive
from rq import Queue

queue = Queue("bench", connection=redis.Redis(unix_socket_path=os.environ["BENCH_REDIS"]))


def submit(task: dict) -> Outcome:
    """Return what the worker has returned."""
    job = queue.enqueue(run_container, task["image"], task["command"], task["project"])
    result = job.latest_result(timeout=120)
    if result is None or result.type.name != "SUCCESSFUL":
        raise RuntimeError(f"RQ's job has failed: {result.exc_string if result else 'no result in two minutes'}")
    code, output = result.return_value
    return code, output


if __name__ == "__main__":
    drive(submit)
