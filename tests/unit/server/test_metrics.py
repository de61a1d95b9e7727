"""Which clients get which format of the metrics."""

import pytest

from ci_server.metrics import OPEN_METRICS, PROMETHEUS, chosen_type


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
def test_the_preferred_format_is_chosen(accept: str, expected: str | None) -> None:
    assert chosen_type([accept]) == expected
