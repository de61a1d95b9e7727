"""Tasks that run beside a block, and work in threads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `work` in a thread and return its result. A cancellation waits for the end of the call."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run endless work beside the block; the end of the block cancels it.

    If the work ends first, the block is cancelled and the error of the work is raised, even if the block failed as a
    consequence of that error.
    """
    block = asyncio.current_task()
    assert block is not None, "entered in a task"
    leaving = ended = False

    def end_block(_: "asyncio.Task[None]") -> None:
        nonlocal ended
        if not leaving:
            ended = True
            block.cancel()

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(end_block)
    try:
        yield
    except asyncio.CancelledError:
        if not ended:
            raise
        block.uncancel()
        task.result()
        raise RuntimeError(f"{name} has ended early") from None
    except Exception as exc:
        leaving = True
        if (cause := await _cancelled(task)) is not None:
            raise cause from exc
        raise
    finally:
        leaving = True
        await _cancelled(task)


async def _cancelled(task: "asyncio.Task[None]") -> Exception | None:
    """Cancel the task, wait for its end, and return its error, if it failed with one."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return outcome if isinstance(outcome, Exception) else None


async def shield_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end. If the caller is cancelled before that, raise CancelledError afterwards."""
    task = asyncio.ensure_future(work)
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            interruption = exc
    task.result()
    if interruption is not None:
        raise interruption
