"""What tests want to know of a job over HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any

from ci_client.aio import CiClient
from ci_client.errors import ClientError
from ci_common.stream import LOG, Event
from tests.helpers.waiting import PATIENCE


async def until(
    client: CiClient, job_id: str, enough: Callable[[Event], bool], *, within: float = PATIENCE
) -> list[Event]:
    """Return a job's events from its beginning up to the first of which `enough` is true."""
    seen: list[Event] = []
    async with asyncio.timeout(within):
        async for event in client.stream(job_id):
            seen.append(event)
            if enough(event):
                return seen
    raise AssertionError(f"the stream of {job_id} ended first: {seen[-3:]}")


def says(text: str) -> Callable[[Event], bool]:
    """Return a condition for `until`: the event is log text that contains `text`."""
    return lambda event: event["type"] == LOG and text in event["data"]


def waits_for(code: str) -> Callable[[Event], bool]:
    """Return a condition for `until`: the event says that the job waits for this reason."""
    return lambda event: event["type"] == "status" and (event["reason"] or {}).get("code") == code


async def finished(client: CiClient, job_id: str, *, within: float = PATIENCE) -> dict[str, Any]:
    """Return the job once it has completed."""
    await until(client, job_id, lambda event: event["type"] == "complete", within=within)
    return await client.get_job(job_id)


async def text_of(client: CiClient, job_id: str) -> str:
    """Return the log as it is now, as text."""
    return b"".join([chunk async for chunk in client.log(job_id)]).decode()


async def answers(client: CiClient) -> bool:
    """Tell whether the server answers."""
    try:
        return bool((await client.health())["status"] == "ok")
    except ClientError:
        return False
