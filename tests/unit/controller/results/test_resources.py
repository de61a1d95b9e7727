"""What an attempt uses: samples while it runs for long, and the whole at its end."""

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from ci_common.attempts.outcomes import ResourceUse, Sample
from ci_common.runtime_faults import RuntimeUnavailable
from ci_controller.results import resources
from ci_controller.results.resources import MOST_SAMPLES, SAMPLE_SECONDS, ResourceWatch, use_of

STARTED = 1000.0


@dataclass
class PlayedTime:
    """Time that passes only where a watch waits, until `end` seconds after the start of the attempt."""

    end: float
    now: float = STARTED
    asked: list[float] = field(default_factory=list)
    """When the runtime was asked for a sample, in seconds after the start."""

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > STARTED + self.end:
            raise asyncio.CancelledError

    async def measure(self) -> Sample | None:
        self.asked.append(self.now - STARTED)
        return Sample(0, memory=len(self.asked))


async def watched(time: PlayedTime, monkeypatch: pytest.MonkeyPatch) -> tuple[Sample, ...]:
    """Return the samples that a watch has taken once its attempt has ended."""
    monkeypatch.setattr(resources, "uptime", lambda: time.now)
    watch = ResourceWatch(time.measure, started=STARTED)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", time.sleep)
        with pytest.raises(asyncio.CancelledError):
            await watch.run()
    return watch.samples


async def test_a_short_attempt_has_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await watched(PlayedTime(end=SAMPLE_SECONDS - 1), monkeypatch) == ()


async def test_a_long_attempt_has_samples_from_its_beginning_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    time = PlayedTime(end=24 * 3600)
    samples = await watched(time, monkeypatch)
    seconds = [sample.seconds for sample in samples]
    assert MOST_SAMPLES / 2 <= len(samples) <= MOST_SAMPLES
    assert seconds[0] == SAMPLE_SECONDS
    distances = {after - before for before, after in pairwise(seconds)}
    assert len(distances) == 1, "they are the same time apart"
    assert time.end - seconds[-1] < distances.pop()
    assert len(time.asked) < 10 * MOST_SAMPLES, "the longer it runs, the more seldom the runtime is asked"
    assert all(sample.memory is not None for sample in samples)


async def test_a_sample_that_cannot_be_taken_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(PlayedTime):
        async def measure(self) -> Sample | None:
            number = len(self.asked)
            await super().measure()
            if number == 1:
                raise RuntimeUnavailable("the engine does not answer")
            return None if number == 2 else Sample(0)

    samples = await watched(Failing(end=5 * SAMPLE_SECONDS), monkeypatch)
    assert [sample.seconds for sample in samples] == [SAMPLE_SECONDS, 4 * SAMPLE_SECONDS, 5 * SAMPLE_SECONDS]


def test_what_is_known_at_the_end_counts_before_samples() -> None:
    samples = (Sample(10, memory=500, cpu_seconds=1.0), Sample(20, memory=300, cpu_seconds=2.0, sent_bytes=7))
    assert use_of({}, None, ()) is None
    assert use_of({}, None, samples) == ResourceUse(peak_memory=500, cpu_seconds=2.0, sent_bytes=7, samples=samples)
    final = ResourceUse(peak_memory=400, cpu_seconds=2.5)
    assert use_of({}, final, samples) == ResourceUse(peak_memory=500, cpu_seconds=2.5, sent_bytes=7, samples=samples)
    counted = {"cpu": 3_000_000, "mem": 900, "read": 0, "sent": 8}
    assert use_of(counted, final, samples) == ResourceUse(
        peak_memory=900, cpu_seconds=3.0, read_bytes=0, sent_bytes=8, samples=samples
    )


def test_is_kept_as_it_is() -> None:
    use = ResourceUse(peak_memory=1, samples=(Sample(10.5, memory=2), Sample(20)))
    assert ResourceUse.from_stored(use.stored()) == use
