"""Rounds of a garbage collector, without the runner."""

from typing import Any

from ci_controller.gc.runner import Collector


async def one_round(collector: Collector[Any]) -> None:
    """Remove all that is found, whatever the grace period; what goes wrong is raised."""
    async for batch in collector.find():
        assert await collector.remove(batch) == {}
