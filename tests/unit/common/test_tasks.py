"""A task that accompanies a block."""

import asyncio

import pytest

from ci_common.tasks import alongside


def test_a_task_alongside_ends_its_block_by_what_ended_it() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def block() -> None:
        async with alongside(fail(), name="work"):
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(block())


def test_an_outside_cancellation_stays_one() -> None:
    async def main() -> None:
        async def block() -> None:
            async with alongside(asyncio.sleep(60), name="work"):
                begun.set()
                await asyncio.Event().wait()

        begun = asyncio.Event()
        task = asyncio.create_task(block())
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(main())
