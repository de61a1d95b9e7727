"""Has the setup of a job run once more, and says whether it has made the same."""

import json
from typing import Any

from ci_cli.connection import Connection
from ci_cli.console import say
from ci_cli.follow import JobFollower, wait_for_end
from ci_cli.interrupts import Interrupts
from ci_cli.tables.kept import verification_lines
from ci_client.exits import EX_ERRORED, status_of_job

EX_DIFFERENT = 1


async def verify(
    connection: Connection, interrupts: Interrupts, job_id: str, *, as_json: bool = False, raw: bool = False
) -> int:
    """Follow a new job that verifies the setup of `job_id`, say its result, and return the exit status."""
    verifying = await connection.client.verify_job(job_id)
    say(f"job {verifying} verifies the setup of job {job_id}")
    follower = JobFollower(connection, verifying, as_json=as_json, raw=raw)
    status = await follower.follow(interrupts, from_beginning=True)
    return status or await _told(connection, verifying)


async def _told(connection: Connection, verifying: str) -> int:
    result = _result_of(await connection.client.get_job(verifying))
    for line in verification_lines(result):
        say(line)
    return _status_of(result)


async def verify_quietly(connection: Connection, job_id: str) -> tuple[dict[str, Any] | None, int]:
    """Return the result of a new job that verifies the setup of `job_id`, None if it has none, and the exit status."""
    verifying = await connection.client.verify_job(job_id)
    ended = await wait_for_end(connection, verifying)
    if status := status_of_job(ended):
        say(f"job {verifying} {ended['conclusion']}: {(ended.get('reason') or {}).get('message', '')}")
        return None, status
    result = _result_of(await connection.client.get_job(verifying))
    return result, _status_of(result)


def _result_of(job: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(job["result"])
    return result


def _status_of(result: dict[str, Any]) -> int:
    if result["same"] is None:
        return EX_ERRORED
    return 0 if result["same"] else EX_DIFFERENT
