"""Runs garbage collectors: each finds one kind of garbage and removes it, and all follow the same rules.

- Work is done in batches, with pauses in between, so that what users ask for comes first.
- Garbage is removed once it has been found for the collector's grace period, in every round since.
- A round that fails changes nothing of that: what cannot be seen is not absent, and not garbage either.
- What fails is logged and tried again later. It holds up neither other garbage nor other collectors.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Hashable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from ci_common.errors import CiError
from ci_common.runtime_faults import RuntimeFault
from ci_common.times import Uptime

log = logging.getLogger(__name__)

BATCH_PAUSE_SECONDS = 0.02
ROUND_PAUSE_SECONDS = 0.1
"""The shortest pause between two rounds of a collector that is woken all the time."""
_LOAD = 4
"""Rounds that follow each other take at most one part in this many, and one, of the time."""
FOUND_TWICE = 0.001
"""The grace period of garbage that has to be found in two rounds, however much time is between them."""

Item = TypeVar("Item", bound=Hashable)


class Collector(Generic[Item]):
    """Finds one kind of garbage and removes it. Both may be repeated, and both raise CiError and OSError."""

    name: ClassVar[str]
    """What is removed, for the log: as in `orphan directories`."""
    verb: ClassVar[str] = "removed"
    """What is done with it, for the log."""
    seconds: float = 3600.0
    """How long after a round the next one begins, unless the collector is woken."""
    retry_seconds: float = 3600.0
    """How long what could not be removed is left alone."""
    grace_seconds: float = 0.0
    """How long garbage must have been found before it is removed; 0 for at once."""
    again_seconds: float | None = None
    """How long after a round that left garbage to its grace period the next one begins at the latest."""

    def find(self) -> AsyncGenerator[list[Item], None]:
        """Yield garbage in batches."""
        raise NotImplementedError

    async def remove(self, items: list[Item]) -> dict[Item, Exception]:
        """Remove items of one batch, and return those that could not be removed; by default, one by one."""
        failed: dict[Item, Exception] = {}
        for item in items:
            try:
                await self.remove_one(item)
            except (OSError, RuntimeFault) as exc:
                failed[item] = exc
        return failed

    async def remove_one(self, item: Item) -> None:
        """Remove an item; for collectors that do not remove several together."""


@dataclass(slots=True)
class _State:
    """What is known of one collector."""

    not_before: dict[Any, float] = field(default_factory=dict)
    """Garbage that is not removed before some uptime, since its grace period runs or its removal failed."""
    due: float = 0.0
    """The uptime of the next round."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class GarbageCollector:
    """Runs collectors for as long as one leader leads."""

    def __init__(self, collectors: Iterable[Collector[Any]], uptime: Uptime) -> None:
        self._uptime = uptime
        self._states: dict[Collector[Any], _State] = {collector: _State() for collector in collectors}

    async def run(self) -> None:
        """Run each collector now and then again and again, until cancelled."""
        async with asyncio.TaskGroup() as rounds:
            for collector, state in list(self._states.items()):
                rounds.create_task(self._repeat(collector, state), name=f"collector of {collector.name}")

    def wake(self, collector: Collector[Any]) -> None:
        """Begin the collector's next round soon."""
        self._states[collector].woken.set()

    async def collect(self, collector: Collector[Any]) -> None:
        """Do one round. A collector that `run` does not know may be given, too: its grace periods are kept here."""
        state, now = self._states.setdefault(collector, _State()), self._uptime()
        before, state.not_before = state.not_before, {}
        state.due = now + collector.seconds
        try:
            async with aclosing(collector.find()) as batches:
                async for batch in batches:
                    if batch:
                        await self._remove(collector, state, batch, before, now)
                        await asyncio.sleep(BATCH_PAUSE_SECONDS)
        except (CiError, OSError) as exc:
            state.not_before = before | state.not_before
            state.due = min(state.due, self._uptime() + collector.retry_seconds)
            log.warning("%s cannot be %s at present: %s", collector.name, collector.verb, exc)

    async def _remove(
        self, collector: Collector[Item], state: _State, batch: list[Item], before: dict[Item, float], now: float
    ) -> None:
        times = {item: before.get(item, now + collector.grace_seconds) for item in batch}
        state.not_before |= {item: time for item, time in times.items() if time > now}
        if ready := [item for item, time in times.items() if time <= now]:
            for item, exc in (await collector.remove(ready)).items():
                log.warning("%s: %s cannot be %s at present: %s", collector.name, item, collector.verb, exc)
                state.not_before[item] = self._uptime() + collector.retry_seconds
        if not collector.grace_seconds:  # Else the next round is early enough.
            state.due = min([state.due, *state.not_before.values()])
        elif collector.again_seconds is not None and state.not_before:
            state.due = min(state.due, now + collector.again_seconds)

    async def _repeat(self, collector: Collector[Any], state: _State) -> None:
        while True:
            state.woken.clear()
            began = self._uptime()
            await self.collect(collector)
            await asyncio.sleep(max(ROUND_PAUSE_SECONDS, (self._uptime() - began) * _LOAD))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, state.due - self._uptime())):
                    await state.woken.wait()
