"""What a metric is, whoever measures it and however it is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["counter", "gauge", "summary", "histogram"]
"""As in Prometheus. A counter only grows; of a summary there are `_sum` and `_count`, of a histogram `_bucket`, too."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a metric."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    """What stands behind the metric's name: `_sum`, `_count` or `_bucket`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A family of samples. Its name is in base units, without the `_total` that counters get where they are written."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]
    shown: Mapping[str, object] = field(default_factory=dict)
    """The same as members of the JSON document, by their names there."""
