"""What a measurement is: series of samples, figures that compare two of them, and limits that nothing can be beyond."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Better(Enum):
    """In which direction a quantity is good."""

    LESS = "less"
    """As of a duration, or of memory."""
    MORE = "more"
    """As of a rate."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one thing, in the order in which they were taken."""

    name: str
    """Whose they are, as in `docker run`."""
    samples: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Return the sample that `percent` of all are not above, NaN where there are none; 50: the median."""
        ordered = sorted(self.samples)
        if not ordered:
            return math.nan
        if percent == 50:
            return statistics.median(ordered)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    @property
    def median(self) -> float:
        return self.percentile(50)


@dataclass(frozen=True, slots=True)
class Limit:
    """What nothing can be beyond on this machine, measured in the same run: the least duration, or the highest rate."""

    name: str
    """What was measured, for people."""
    samples: tuple[float, ...]
    unit: str
    better: Better
    slack: float = 1.0
    """By what factor a figure may be beyond the best sample, where the limit is not physics but a rival's best time."""

    @property
    def value(self) -> float:
        """The best sample with the slack: what is better than this cannot be true."""
        if self.better is Better.LESS:
            return min(self.samples) / self.slack
        return max(self.samples) * self.slack


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity of ours, beside the same of somebody else in the same run."""

    key: str
    """Which figure it is, as in `start.warm`: targets name it so."""
    title: str
    unit: str
    better: Better
    ours: Series
    reference: Series | None = None
    bounds: tuple[str, ...] = ()
    """Keys of the limits that neither series can be beyond."""
    reference_is_limit: bool = False
    """We do all that the reference does and more, so we cannot be better: as a framework with nothing behind it."""
    exact: bool = False
    """The samples are counts, not measurements: they may be 0, and are not compared with limits."""

    @property
    def ratio(self) -> float:
        """How many times better our median is than the reference's; NaN where there is none."""
        return math.nan if self.reference is None else self.advantage(self.ours.median, self.reference.median)

    def advantage(self, ours: float, reference: float) -> float:
        """Return how many times better a value of ours is than one of the reference."""
        good, bad = (reference, ours) if self.better is Better.LESS else (ours, reference)
        return good / bad if bad else math.inf

    def turn_ratios(self) -> tuple[float, ...]:
        """Return the ratios within each turn; empty where the series were not taken in turns."""
        if self.reference is None or len(self.reference.samples) != len(self.ours.samples):
            return ()
        pairs = zip(self.ours.samples, self.reference.samples, strict=True)
        return tuple(self.advantage(ours, reference) for ours, reference in pairs)


@dataclass(slots=True)
class Results:
    """What one run has come to."""

    figures: dict[str, list[Figure]] = field(default_factory=dict)
    """By family."""
    titles: dict[str, str] = field(default_factory=dict)
    """Of the families."""
    limits: dict[str, Limit] = field(default_factory=dict)
    """By key."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """By family: settings, versions, and what was left out."""
    seconds: float = 0.0

    def figure(self, key: str) -> Figure | None:
        """Return the figure with this key, or None where it was not measured."""
        return next((f for figures in self.figures.values() for f in figures if f.key == key), None)


class LeftOut(Exception):
    """Something cannot be measured here; the message says why."""


Samples = Mapping[str, list[float]]
"""By contender."""
