"""A runtime whose images and pulls the test controls. It runs nothing."""

import asyncio
from collections import Counter

from ci_common.spec import ExecutionPlan
from ci_controller.runtime.protocol import Progress


class ScriptedImages:
    """An `ImageStore` whose pulls go on until the test ends them."""

    name = "scripted"

    def __init__(self, *present: str) -> None:
        self.present = set(present)
        self.questions = 0
        self.pulls: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._pulling: dict[str, tuple[asyncio.Future[None], Progress]] = {}
        self._begun = asyncio.Condition()

    async def has_image(self, image: str) -> bool:
        self.questions += 1
        return image in self.present

    async def pull(self, image: str, progress: Progress) -> None:
        outcome = asyncio.get_running_loop().create_future()
        self.pulls[image] += 1
        async with self._begun:
            self._pulling[image] = outcome, progress
            self._begun.notify_all()
        try:
            await outcome
            self.present.add(image)
        finally:
            self.ended[image] += 1
            del self._pulling[image]

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> None:
        """Nothing can wait here."""

    async def pulling(self, image: str) -> None:
        """Return once a pull of `image` is under way."""
        async with self._begun:
            await self._begun.wait_for(lambda: image in self._pulling)

    def say(self, image: str, line: str) -> None:
        """Report progress of a pull."""
        self._pulling[image][1](line)

    def finish(self, image: str, fault: Exception | None = None) -> None:
        """End a pull, well or with `fault`."""
        outcome = self._pulling[image][0]
        if fault is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(fault)
