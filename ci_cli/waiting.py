"""`ci wait JOB JOB...`: waits for several jobs."""

import asyncio
import json

from ci_cli.connection import Connection
from ci_cli.console import Progress, say, show_raw
from ci_cli.follow import wait_for_end
from ci_client.exits import status_of_job
from ci_client.formatting import count_of


async def wait_for_all(connection: Connection, job_ids: list[str], *, as_json: bool) -> int:
    """Tell the end of each job once it comes, and return the status of the first that did not succeed, or 0."""
    job_ids = list(dict.fromkeys(job_ids))
    statuses: dict[str, int] = {}

    async def wait(job_id: str) -> None:
        event = await wait_for_end(connection, job_id)
        statuses[job_id] = status_of_job(event)
        code = event.get("exit_code")
        progress.clear()
        if as_json:
            show_raw(json.dumps({"job_id": job_id, **event}) + "\n")
        say(f"job {job_id} {event['conclusion']}" + (f": exit code {code}" if code is not None else ""))
        progress.show(f"{len(statuses)} of {len(job_ids)} jobs have ended", len(statuses) / len(job_ids))

    with Progress() as progress:
        async with asyncio.TaskGroup() as waiting:
            for job_id in job_ids:
                waiting.create_task(wait(job_id))
    failed = [job_id for job_id in job_ids if statuses[job_id]]
    if len(failed) > 1 or (failed and len(job_ids) > 1):
        say(f"{count_of(len(failed), 'job')} of {len(job_ids)} did not succeed", problem=True)
    return statuses[failed[0]] if failed else 0
