"""How long the steps of a job usually take, by earlier runs."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from ci_cli.announcement import make_state_directory, state_directory
from ci_client.aio import CiClient
from ci_client.errors import ClientError, StateUnavailable

_RUNS = 5
_MOST_PLACES = 200

Usual = dict[str, float]
"""Seconds by the name of a step."""


async def usual_of_project(client: CiClient, project: str) -> Usual:
    """Return what the last runs of a project that succeeded took; empty if there are none, or the server is away."""
    try:
        jobs = await client.list_jobs(limit=_RUNS, project=project, conclusion="succeeded")
    except ClientError:
        return {}
    taken: dict[str, list[float]] = {}
    for job in jobs:
        for name, seconds in durations(job).items():
            taken.setdefault(name, []).append(seconds)
    return {name: sorted(each)[len(each) // 2] for name, each in taken.items()}


def durations(job: dict[str, Any]) -> Usual:
    """Return how long the steps of a job took."""
    return {
        step["name"]: (
            datetime.fromisoformat(step["end_time"]) - datetime.fromisoformat(step["start_time"])
        ).total_seconds()
        for step in job.get("steps") or []
        if step.get("start_time") and step.get("end_time")
    }


def usual_of_directory(directory: Path) -> Usual:
    """Return what the last run of a directory that succeeded took, as this user's commands have noted it."""
    found = _read().get(os.path.realpath(directory), {})
    return {name: float(seconds) for name, seconds in found.items()} if isinstance(found, dict) else {}


def note(directory: Path, job: dict[str, Any]) -> None:
    """Note what a run of a directory took. Fails silently: nothing depends on it."""
    place = os.path.realpath(directory)
    known = {other: taken for other, taken in _read().items() if other != place}
    kept = dict([*known.items(), (place, durations(job))][-_MOST_PLACES:])
    try:
        file = make_state_directory() / "durations.json"
        draft = file.with_name(f"durations-{os.getpid()}.new")
        draft.write_text(json.dumps(kept), "utf-8")
        os.replace(draft, file)
    except (OSError, StateUnavailable):
        return


def _read() -> dict[str, Any]:
    try:
        found = json.loads((state_directory() / "durations.json").read_text("utf-8"))
    except (OSError, ValueError, StateUnavailable):
        return {}
    return found if isinstance(found, dict) else {}
