"""Measurements: series of samples, figures that compare two series, and limits that no figure can exceed."""

import math
import statistics
from dataclasses import dataclass, field
from enum import Enum


class Better(Enum):
    """The direction in which a quantity improves."""

    LESS = "less"
    """For example durations and memory."""
    MORE = "more"
    """For example rates."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one contender, in the order in which they were taken."""

    name: str
    """The contender, such as `docker run`."""
    samples: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Return the sample that `percent` of all samples do not exceed; 50 is the median; NaN without samples."""
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
    """The limit of this machine, measured in the same run: the shortest duration, or the highest rate."""

    name: str
    """What was measured, for people."""
    samples: tuple[float, ...]
    unit: str
    better: Better
    slack: float = 1.0
    """The factor by which a figure may exceed the best sample, if the limit is another program's best time."""

    @property
    def value(self) -> float:
        """The best sample with the slack. A better value cannot be true."""
        if self.better is Better.LESS:
            return min(self.samples) / self.slack
        return max(self.samples) * self.slack


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity of ours, beside the same quantity of a reference in the same run."""

    key: str
    """Its name for targets, such as `start.warm`."""
    title: str
    unit: str
    better: Better
    ours: Series
    reference: Series | None = None
    bounds: tuple[str, ...] = ()
    """The keys of the limits that neither series can exceed."""
    reference_is_limit: bool = False
    """Whether ours cannot be better because it does all that the reference does, such as the bare framework."""
    exact: bool = False
    """The samples are counts, not measurements: they may be 0, and are not compared with limits."""

    @property
    def ratio(self) -> float:
        """How many times better our median is than the reference's; NaN without a reference."""
        return math.nan if self.reference is None else self.advantage(self.ours.median, self.reference.median)

    def advantage(self, ours: float, reference: float) -> float:
        """Return how many times better a value of ours is than one of the reference."""
        good, bad = (reference, ours) if self.better is Better.LESS else (ours, reference)
        return good / bad if bad else math.inf

    def turn_ratios(self) -> tuple[float, ...]:
        """Return the ratio of each turn; empty if the series were not taken in turns."""
        if self.reference is None or len(self.reference.samples) != len(self.ours.samples):
            return ()
        pairs = zip(self.ours.samples, self.reference.samples, strict=True)
        return tuple(self.advantage(ours, reference) for ours, reference in pairs)


@dataclass(slots=True)
class Results:
    """The results of one run."""

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
        """Return the figure with this key, or None if it was not measured."""
        return next((f for figures in self.figures.values() for f in figures if f.key == key), None)


class LeftOut(Exception):
    """Something cannot be measured here. The message is the reason."""
