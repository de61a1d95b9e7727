"""Containers that the controller makes for itself: none is left of a caller that was cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ci_controller.runtime.docker.engine import Engine


class SlowEngine(Engine):
    """An engine that makes containers when it is told to, and notes what is removed."""

    def __init__(self) -> None:
        super().__init__("unix:///none.sock", patience=1)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.removed: list[str] = []

    @asynccontextmanager
    async def call(self, patience: float | None = None) -> AsyncIterator[Any]:
        yield SimpleNamespace(containers=SimpleNamespace(create=self._create))

    async def _create(self, config: Any) -> Any:
        self.asked.set()
        await self.answer.wait()
        return SimpleNamespace(id="made")

    async def remove_container(self, name: str) -> None:
        self.removed.append(name)


async def use(engine: Engine) -> None:
    async with engine.helper({}):
        await asyncio.Event().wait()


@pytest.mark.parametrize("is_made", [True, False])
async def test_it_is_removed_also_if_it_is_made_after_that(is_made: bool) -> None:
    engine = SlowEngine()
    using = asyncio.create_task(use(engine))
    await engine.asked.wait()
    if is_made:
        engine.answer.set()
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.sleep(0)
    engine.answer.set()
    await asyncio.gather(using, return_exceptions=True)
    assert using.cancelled()
    assert engine.removed == ["made"]
