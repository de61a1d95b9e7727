"""`GET /metrics`, and that its documentation is complete."""

import re

from tests.helpers.markdown import Page, codes, table
from tests.helpers.played_api import Api


async def test_every_metric_has_its_row(api: Api) -> None:
    rows = table(Page("docs/metrics.md").text)
    text = (await api.client.get("/metrics", headers={"Accept": "text/plain"})).text
    assert {(codes(row[0])[0], row[1]) for row in rows} == set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    told = {name: re.findall(rf"^{name}(?:_sum|_count)?{{(\w+)=", text, re.MULTILINE) for name, _ in types(text)}
    assert {codes(row[0])[0]: labels(row[3]) for row in rows} == {name: set(found) for name, found in told.items()}
    assert {key for row in rows for key in codes(row[2])} == (await api.client.get("/metrics")).json().keys()


def types(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)


def labels(text: str) -> set[str]:
    return set(re.findall(r"label `(\w+)`", text))


async def test_the_formats_tell_the_same(api: Api) -> None:
    for _ in range(3):
        (await api.client.post("/jobs", json={"type": "echo"})).raise_for_status()
    plain = await api.client.get("/metrics")
    assert plain.headers["content-type"] == "application/json"
    document = plain.json()
    assert (document["total_submitted"], document["queued"], document["running"]) == (3, 3, 0)
    assert (document["succeeded"], document["failed"], document["avg_duration_ms"]) == (0, 0, None)
    prometheus = await api.client.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"})
    assert prometheus.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nci_jobs_submitted_total 3\n" in prometheus.text
    open_metrics = await api.client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert open_metrics.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "# TYPE ci_jobs_submitted counter\nci_jobs_submitted_total 3\n" in open_metrics.text
    assert open_metrics.text.endswith("\n# EOF\n")
    assert open_metrics.headers["vary"] == "Accept"
