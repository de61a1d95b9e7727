"""Tasks that accompany a block, and work in threads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `work` returns, called in a thread. A cancellation waits for its end, so it leaves nobody at work."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Do endless work for as long as the block lasts; the block's end cancels it.

    Should the work end before, the block is cancelled, and what the work raised is raised in its place: also where the
    block has noticed that the work was failing, and failed of that.
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
        raise RuntimeError(f"{name} has ended before its time") from None
    except Exception as exc:
        leaving = True
        if (cause := await _cancelled(task)) is not None:
            raise cause from exc
        raise
    finally:
        leaving = True
        await _cancelled(task)


async def _cancelled(task: "asyncio.Task[None]") -> Exception | None:
    """Cancel the task, wait for its end, and return what it failed of nevertheless."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return outcome if isinstance(outcome, Exception) else None


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end even where the caller is cancelled meanwhile, and be cancelled after that."""
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
