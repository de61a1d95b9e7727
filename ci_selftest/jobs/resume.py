"""`python -m ci_selftest.jobs.resume URL JOB FILE`: read a job's log from the end of FILE up to the job's end.

It is killed and restarted. It resumes only by the file's length, so the job must have one attempt.
"""

import asyncio
import sys
from contextlib import aclosing
from io import FileIO
from pathlib import Path

from ci_client.aio import CiClient
from ci_client.events import log_bytes_of
from ci_common.wire.stream import LOG
from ci_selftest.jobs.readers import GIVE_UP_SECONDS, IDLE_SECONDS, answered


async def main(url: str, job_id: str, path: Path) -> None:
    """Append to the file until the job has completed, even if no server answers at first. Raises ClientError."""
    client = CiClient(url, reconnect_seconds=GIVE_UP_SECONDS, idle_seconds=IDLE_SECONDS)
    with path.open("ab", buffering=0) as file:
        async with client:
            await answered(lambda: _read_on(client, job_id, file))


async def _read_on(client: CiClient, job_id: str, file: FileIO) -> None:
    async with aclosing(client.stream(job_id, last_id=str(file.tell()))) as events:
        async for event in events:
            if event["type"] == LOG:
                file.write(log_bytes_of(event))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
