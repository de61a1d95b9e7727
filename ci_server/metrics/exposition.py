"""The text formats of Prometheus (0.0.4) and OpenMetrics (1.0.0), exactly as specified."""

import math
from collections.abc import Iterable, Iterator

from ci_server.metrics.model import Metric, Sample

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def prometheus_text(metrics: Iterable[Metric]) -> str:
    """Return the metrics in Prometheus's text format."""
    return "".join(line for metric in metrics for line in _family(metric, _counter_name(metric), quotes=False))


def open_metrics_text(metrics: Iterable[Metric]) -> str:
    """Return the metrics in the format of OpenMetrics, where a counter's family has the name without `_total`."""
    return "".join(line for metric in metrics for line in _family(metric, metric.name, quotes=True)) + "# EOF\n"


def _family(metric: Metric, name: str, *, quotes: bool) -> Iterator[str]:
    described = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {name} {_quoted(described) if quotes else described}\n"
    yield f"# TYPE {name} {metric.kind}\n"
    for sample in metric.samples:
        yield f"{_counter_name(metric)}{sample.suffix}{_labels(sample)} {_number(sample.value)}\n"


def _counter_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.kind == "counter" else metric.name


def _labels(sample: Sample) -> str:
    if not sample.labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return _quoted(text.replace("\\", "\\\\").replace("\n", "\\n"))


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
