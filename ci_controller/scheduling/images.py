"""Images that jobs wait for: one pull per image, outside of any slot, so that a slow pull delays no other job."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ci_common.errors import ImageFault, ImagePullFailed, RuntimeUnavailable
from ci_common.jobs import Reason, ReasonCode
from ci_controller.runtime.protocol import Runtime

log = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 3.0)
"""Waits after failed tries of a pull that may yet succeed; after the last try the image counts as not to be had."""
LOOK_SECONDS = 5.0
"""How long the engine may take to say whether it has an image; the whole queue waits for it."""


@dataclass(slots=True)
class _Pull:
    reason: Reason
    task: asyncio.Task[None] | None = None
    fault: ImageFault | None = field(default=None)


class Images:
    """The images of one runtime, as far as queued jobs ask for them."""

    def __init__(self, runtime: Runtime, on_change: Callable[[], None]) -> None:
        self._runtime = runtime
        self._on_change = on_change
        self._pulls: dict[str, _Pull] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def is_ready(self, image: str) -> bool:
        """Tell whether jobs of `image` can start; where not, a pull is under way when this returns.

        Raises ImageFault, once to every caller that asks, where the image is not to be had. RuntimeUnavailable.
        """
        pull = self._pulls.get(image)
        if pull is None:
            if await self._is_here(image):
                return True
            pull = self._pulls[image] = _Pull(Reason(ReasonCode.PULLING_IMAGE, f"pulling {image}"))
            pull.task = asyncio.create_task(self._run(image, pull), name=f"pull {image}")
            self._keep(pull.task)
        if pull.fault is not None:
            raise pull.fault
        return False

    def expect(self, image: str) -> None:
        """Ask the engine ahead for the image of a job that has just been queued, while the queue is to be read."""
        if image not in self._pulls:
            self._keep(asyncio.create_task(self._look_ahead(image), name=f"look for {image}"))

    async def _look_ahead(self, image: str) -> None:
        with suppress(RuntimeUnavailable, ImageFault):
            await self._is_here(image)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _is_here(self, image: str) -> bool:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._runtime.has_image(image)
        except TimeoutError as exc:
            raise RuntimeUnavailable(f"no answer within {LOOK_SECONDS:g} s") from exc

    def reason(self, image: str) -> Reason:
        """Return why jobs of an image wait that `is_ready` said False of."""
        return self._pulls[image].reason

    def forget_all_but(self, wanted: Iterable[str]) -> None:
        """End the pulls nobody waits for any more, and forget what went wrong with others."""
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
            self._on_change()

    async def _try(self, image: str, pull: _Pull) -> None:
        for wait in (*RETRY_SECONDS, None):
            try:
                await self._runtime.pull(image, lambda line: self._progress(image, pull, line))
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
