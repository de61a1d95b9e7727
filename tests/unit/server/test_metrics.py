"""How metrics are written, and who gets which format."""

import pytest

from ci_server.metrics.answer import chosen_type
from ci_server.metrics.exposition import OPEN_METRICS, PROMETHEUS, open_metrics_text, prometheus_text
from ci_server.metrics.model import Metric, Sample

METRICS = [
    Metric("a", "counter", 'Back\\slash, "quotes"\nand a line.', (Sample(3, {"l": 'x\\y"z\n', "m": "é"}),)),
    Metric("b_seconds", "summary", "B.", (Sample(0.25, suffix="_sum"), Sample(2, suffix="_count"))),
    Metric("c", "gauge", "C.", (Sample(float("inf")), Sample(1e-9), Sample(float("nan")))),
]


def test_prometheus_text() -> None:
    assert prometheus_text(METRICS) == (
        '# HELP a_total Back\\\\slash, "quotes"\\nand a line.\n# TYPE a_total counter\n'
        'a_total{l="x\\\\y\\"z\\n",m="é"} 3\n'
        "# HELP b_seconds B.\n# TYPE b_seconds summary\nb_seconds_sum 0.25\nb_seconds_count 2\n"
        "# HELP c C.\n# TYPE c gauge\nc +Inf\nc 1e-09\nc NaN\n"
    )


def test_open_metrics_text() -> None:
    assert open_metrics_text(METRICS[:2]) == (
        '# HELP a Back\\\\slash, \\"quotes\\"\\nand a line.\n# TYPE a counter\n'
        'a_total{l="x\\\\y\\"z\\n",m="é"} 3\n'
        "# HELP b_seconds B.\n# TYPE b_seconds summary\nb_seconds_sum 0.25\nb_seconds_count 2\n# EOF\n"
    )


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("*/*", None),
        ("application/json", None),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", None),
        ("image/png", None),
        ("text/plain", PROMETHEUS),
        ("TEXT/Plain; version=0.0.4", PROMETHEUS),
        ("text/*", PROMETHEUS),
        ("application/openmetrics-text", OPEN_METRICS),
        ('application/openmetrics-text; version="1.0.0"', OPEN_METRICS),
        ("text/plain;q=0.5, application/json;q=0.4", PROMETHEUS),
        ("text/plain;q=0.5, application/json", None),
        ("text/plain;q=0, */*;q=0.1", None),
        ("text/plain;q=x", None),
        ("application/openmetrics-text;version=9.0.0;q=0.9,text/plain;version=0.0.4;q=0.1", PROMETHEUS),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
            "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPEN_METRICS,
        ),
    ],
)
def test_who_asks_for_a_format_gets_it(accept: str, expected: str | None) -> None:
    assert chosen_type([accept]) == expected
