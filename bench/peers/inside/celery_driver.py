"""Submits to Celery, and waits for the result as its backend tells of it."""

from celery_tasks import run
from driver import Outcome, drive


def submit(task: dict) -> Outcome:
    """Return what the worker has returned."""
    code, output = run.delay(task["image"], task["command"], task["project"]).get(timeout=120)
    return code, output


if __name__ == "__main__":
    drive(submit)
