"""Deploys the flow to the work pool, and submits runs of it."""

from pathlib import Path

from driver import Outcome, drive
from prefect import flow
from prefect.deployments import run_deployment

POLL_SECONDS = 0.05


def submit(task: dict) -> Outcome:
    """Return 0 where the run has completed well."""
    run = run_deployment("job/bench", parameters=task, timeout=120, poll_interval=POLL_SECONDS, as_subflow=False)
    return (0 if run.state is not None and run.state.is_completed() else 1), ""


if __name__ == "__main__":
    source = flow.from_source(source=str(Path(__file__).parent), entrypoint="prefect_flow.py:job")
    source.deploy(name="bench", work_pool_name="bench", print_next_steps=False, ignore_warnings=True)
    drive(submit)
