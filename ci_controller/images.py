"""The images that queued jobs ask for: whether the engine has them, and their pulls.

There is one pull per image, outside of any slot, so that a slow pull delays no other job.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ci_common.jobs import Reason, ReasonCode
from ci_common.runtime_faults import ImageFault, ImagePullFailed, RuntimeUnavailable
from ci_controller.runtime.protocol import ImageStore

RETRY_SECONDS = (1.0, 3.0)
"""Waits after failed tries of a pull that may yet succeed; after the last try the image cannot be pulled."""
LOOK_SECONDS = 5.0
"""How long the engine may take to say whether it has an image; the whole queue waits for that."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pull:
    reason: Reason
    task: asyncio.Task[None] | None = None
    fault: ImageFault | None = field(default=None)


class Images:
    """The images that queued jobs ask for: one question to the engine per image and turn, and one pull per image."""

    def __init__(self, store: ImageStore, on_change: Callable[[], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._pulls: dict[str, _Pull] = {}
        self._asked: dict[str, asyncio.Task[bool]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def is_ready(self, image: str) -> bool:
        """Return whether jobs of `image` can start; if not, a pull is under way when this returns.

        Raises ImageFault, once to every caller that asks, where the image cannot be pulled. RuntimeUnavailable.
        """
        pull = self._pulls.get(image)
        if pull is None:
            asked = self._asked.get(image) or self._ask(image)
            if await asyncio.shield(asked):
                return True
            pull = self._pulls[image] = _Pull(Reason(ReasonCode.PULLING_IMAGE, f"pulling {image}"))
            pull.task = asyncio.create_task(self._run(image, pull), name=f"pull {image}")
            self._keep(pull.task)
        if pull.fault is not None:
            raise pull.fault
        return False

    def expect(self, image: str) -> None:
        """Ask the engine for the image of a job that has just been stored, while the queue is still to be read.

        A job runs in the image that has the name when it is stored, so no earlier answer counts for it.
        """
        if image not in self._pulls and self._asked.pop(image, None) is None:
            self._ask(image)

    def end_turn(self) -> None:
        """Ask again in the next turn of the queue."""
        self._asked.clear()

    def _ask(self, image: str) -> "asyncio.Task[bool]":
        asked = self._asked[image] = asyncio.create_task(self._is_here(image), name=f"question for {image}")
        self._keep(asked)
        return asked

    async def _is_here(self, image: str) -> bool:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._store.has_image(image)
        except TimeoutError as exc:
            raise RuntimeUnavailable(f"no answer within {LOOK_SECONDS:g} s") from exc

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # It may be that none awaits it.

    def reason(self, image: str) -> Reason:
        """Return why jobs of an image wait for which `is_ready` returned False."""
        return self._pulls[image].reason

    def forget_all_but(self, wanted: Iterable[str]) -> None:
        """End the pulls that no job waits for any more, and forget the failures of others."""
        for image in self._pulls.keys() - set(wanted):
            pull = self._pulls.pop(image)
            if pull.task is not None:
                pull.task.cancel()

    async def close(self) -> None:
        """End all pulls."""
        self.forget_all_but(())
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, image: str, pull: _Pull) -> None:
        try:
            await self._try(image, pull)
            self._pulls.pop(image, None)
        except ImageFault as fault:
            pull.fault = fault
        finally:
            self._asked.pop(image, None)
            self._on_change()

    async def _try(self, image: str, pull: _Pull) -> None:
        for wait in (*RETRY_SECONDS, None):
            try:
                await self._store.pull(image, lambda line: self._progress(image, pull, line))
                return
            except (ImagePullFailed, RuntimeUnavailable) as exc:
                if wait is None:
                    raise exc if isinstance(exc, ImageFault) else ImagePullFailed(str(exc)) from exc
                log.warning("pull of %s failed, trying again in %g s: %s", image, wait, exc)
                pull.reason = Reason(
                    ReasonCode.BACKING_OFF, f"the pull of {image} failed, next try in {wait:g} s: {exc}"
                )
            self._on_change()
            await asyncio.sleep(wait)

    def _progress(self, image: str, pull: _Pull, line: str) -> None:
        reason = Reason(ReasonCode.PULLING_IMAGE, f"pulling {image}: {line}" if line else f"pulling {image}")
        if reason != pull.reason:
            pull.reason = reason
            self._on_change()
