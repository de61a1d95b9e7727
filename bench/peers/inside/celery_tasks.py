"""The queue that people write with Celery: one task that runs a container."""

import os

from celery import Celery
from container import run_container

_REDIS = f"redis+socket://{os.environ['BENCH_REDIS']}"

app = Celery("celery_tasks", broker=_REDIS, backend=_REDIS)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=False,
    task_compression=None,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
)


@app.task
def run(image: str, command: list[str], project: str | None) -> tuple[int, str]:
    """Run a container; return exit status and output."""
    return run_container(image, command, project)
