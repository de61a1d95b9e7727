"""What an attempt uses: a series of samples while it runs for long, and the whole once it has ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from ci_common.attempts.outcomes import ResourceUse, Sample
from ci_common.runtime_faults import RuntimeFault, RuntimeUnavailable
from ci_common.times import uptime

SAMPLE_SECONDS: Final = 10.0
"""Between two samples, and before the first: a job that ends sooner has none."""
MOST_SAMPLES: Final = 120
"""Where there would be more, every second one goes, and the others are taken half as often."""

Measure = Callable[[], Awaitable[Sample | None]]
"""Returns what the attempt has used so far, with any `seconds`; None if that cannot be known."""

log = logging.getLogger(__name__)


class ResourceWatch:
    """Takes samples of one running attempt until it is cancelled."""

    def __init__(self, measure: Measure, *, started: float, seconds: float = SAMPLE_SECONDS) -> None:
        """`started` is the machine's uptime in seconds when the attempt's code could start."""
        self._measure = measure
        self._started = started
        self._seconds = seconds
        self._samples: list[Sample] = []

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self._samples)

    async def run(self) -> None:
        """Take samples. One that cannot be taken is left out."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                sample = await self._measure()
            except (RuntimeUnavailable, RuntimeFault, OSError, ValueError, KeyError, TypeError) as exc:
                log.debug("what an attempt uses cannot be measured at present: %s", exc)
                continue
            if sample is not None:
                self._add(replace(sample, seconds=round(max(0.0, uptime() - self._started), 3)))

    def _add(self, sample: Sample) -> None:
        self._samples.append(sample)
        if len(self._samples) > MOST_SAMPLES:
            self._samples = self._samples[::2]
            self._seconds *= 2


def use_of(counted: Mapping[str, int], final: ResourceUse | None, samples: tuple[Sample, ...]) -> ResourceUse | None:
    """Return what an attempt used in all; None if nothing is known.

    `counted` is what its script has read at its end, `final` what the runtime says of one that has ended. What neither
    knows is as in the last sample.
    """
    if counted:
        micros = counted.get("cpu")
        final = ResourceUse(
            peak_memory=counted.get("mem"),
            cpu_seconds=None if micros is None else micros / 1e6,
            read_bytes=counted.get("read"),
            written_bytes=counted.get("written"),
            received_bytes=counted.get("received"),
            sent_bytes=counted.get("sent"),
        )
    if final is None and not samples:
        return None
    use, last = final or ResourceUse(), samples[-1] if samples else Sample(0)
    largest = max((sample.memory for sample in samples if sample.memory is not None), default=None)
    known = [size for size in (use.peak_memory, largest) if size is not None]
    missing = {
        name: getattr(last, name)
        for name in ("cpu_seconds", "read_bytes", "written_bytes", "received_bytes", "sent_bytes")
        if getattr(use, name) is None
    }
    return replace(use, peak_memory=max(known, default=None), samples=samples, **missing)
