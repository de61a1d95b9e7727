"""Sending without a task."""

import asyncio

import pytest

from ci_server.streaming.framing import send_nowait


async def test_what_can_be_done_at_once_leaves_nothing() -> None:
    done = []

    async def send() -> None:
        done.append(1)

    assert send_nowait(send()) is None
    assert done == [1]


async def test_the_rest_is_done_by_the_task_that_awaits_it() -> None:
    room, done = asyncio.Event(), []

    async def send() -> None:
        await room.wait()
        await asyncio.sleep(0)
        done.append(asyncio.current_task())

    rest = send_nowait(send())
    assert rest is not None

    async def finish() -> None:
        await rest

    task = asyncio.create_task(finish())
    await asyncio.sleep(0)
    assert done == []
    room.set()
    await task
    assert done == [task]


async def test_errors_reach_the_caller() -> None:
    room = asyncio.Event()

    async def send(wait: bool) -> None:
        if wait:
            await room.wait()
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        send_nowait(send(False))
    rest = send_nowait(send(True))
    assert rest is not None
    room.set()
    with pytest.raises(BrokenPipeError):
        await rest


async def test_the_rest_can_be_given_up() -> None:
    left = []

    async def send() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append(1)

    rest = send_nowait(send())
    assert rest is not None
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert left == [1]
