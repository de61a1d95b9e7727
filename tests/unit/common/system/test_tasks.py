"""A task that accompanies a block."""

import asyncio

import pytest

from ci_common.system.tasks import background_task


def test_a_task_alongside_ends_its_block_by_what_ended_it() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def block() -> None:
        async with background_task(fail(), name="work"):
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(block())


def test_what_failed_alongside_is_told_of_and_not_what_the_block_made_of_it() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def serve() -> None:
        async with background_task(fail(), name="part"):
            try:
                await asyncio.Event().wait()
            finally:
                leaving.set()
                await asyncio.Event().wait()

    async def block() -> None:
        async with background_task(serve(), name="server"):
            await leaving.wait()
            raise ConnectionError("it does not answer")

    leaving = asyncio.Event()
    with pytest.raises(ValueError, match="broken") as caught:
        asyncio.run(block())
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_block_fails_of_its_own_where_the_work_is_fine() -> None:
    async def block() -> None:
        async with background_task(asyncio.sleep(60), name="work"):
            await asyncio.sleep(0)
            raise ConnectionError("it does not answer")

    with pytest.raises(ConnectionError):
        asyncio.run(block())


def test_an_outside_cancellation_stays_one() -> None:
    async def main() -> None:
        async def block() -> None:
            async with background_task(asyncio.sleep(60), name="work"):
                begun.set()
                await asyncio.Event().wait()

        begun = asyncio.Event()
        task = asyncio.create_task(block())
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(main())
