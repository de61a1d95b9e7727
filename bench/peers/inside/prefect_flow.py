"""Prefect's flow: it runs one container."""

from container import run_container
from prefect import flow


@flow(name="job", log_prints=False)
def job(image: str, command: list[str], project: str | None) -> None:
    """Run a container; fails as it does."""
    code, output = run_container(image, command, project)
    if code:
        raise RuntimeError(f"the container ended with {code}: {output}")
