"""`GET /metrics`, and that its documentation is complete."""

import re

from ci_common.attempts.parts import StartWay
from ci_common.times import STAGES
from ci_persistence.stores.metrics import STAGE_BOUNDS
from tests.helpers.markdown import Page, codes, table
from tests.helpers.played_api import Api


async def test_every_metric_has_its_row(api: Api) -> None:
    await with_stages(api)
    rows = table(Page("docs/metrics.md").text.partition("\n## ")[0])
    text = (await api.client.get("/metrics", headers={"Accept": "text/plain"})).text
    assert {(codes(row[0])[0], row[1]) for row in rows} == set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {codes(row[0])[0]: labels(row[3]) for row in rows} == {
        name: set(re.findall(rf"^{name}(?:_sum|_count|_bucket)?{{(?:le=[^,]+,)?(\w+)=", text, re.MULTILINE))
        for name, _ in types(text)
    }
    assert "_created" not in text
    assert {key for row in rows for key in codes(row[2])} == (await api.client.get("/metrics")).json().keys()


def types(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)


def labels(text: str) -> set[str]:
    return set(re.findall(r"label `(\w+)`", text))


async def test_stages_are_histograms(api: Api) -> None:
    await with_stages(api)
    lines = (await api.client.get("/metrics", headers={"Accept": "text/plain"})).text.splitlines()
    buckets = [line for line in lines if line.startswith("ci_job_stage_seconds_bucket{")]
    queue = [line.partition(" ")[2] for line in buckets if 'stage="queue"' in line]
    assert queue == ["0.0", "0.0", *["1.0"] * (len(STAGE_BOUNDS) - 1)]
    assert 'ci_job_stage_seconds_bucket{le="0.005",stage="queue",way="cold"} 1.0' in lines
    assert 'ci_job_stage_seconds_bucket{le="1800.0",stage="start",way="cold"} 0.0' in lines
    assert 'ci_job_stage_seconds_bucket{le="+Inf",stage="start",way="cold"} 1.0' in lines
    assert 'ci_job_stage_seconds_sum{stage="queue",way="cold"} 0.003' in lines
    assert 'ci_job_stage_seconds_count{stage="queue",way="cold"} 1.0' in lines
    shown = (await api.client.get("/metrics")).json()["stages"]
    assert shown["queue"] == {"cold": {"jobs": 1, "avg_ms": 3.0}}
    assert shown.keys() == set(STAGES) == set(first_codes(Page("docs/metrics.md").section("Stages")))


async def with_stages(api: Api) -> None:
    """Let a job pass some stations, within known times, to its end."""
    job_id = await api.submit()
    await api.controller.start(job_id)
    submitted = (await api.controller.storage.jobs.get(job_id)).arrival["persisting"]
    trace = {"starting": submitted + 3_000, "gate_opened": submitted + 10**10}
    await api.controller.update(job_id, start_way=StartWay.COLD, trace=trace)
    await api.controller.finish(job_id)


def first_codes(section: str) -> list[str]:
    return [codes(row[0])[0] for row in table(section)]


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
    assert "\nci_jobs_submitted_total 3.0\n" in prometheus.text
    open_metrics = await api.client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert open_metrics.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "# TYPE ci_jobs_submitted counter\nci_jobs_submitted_total 3.0\n" in open_metrics.text
    assert open_metrics.text.endswith("\n# EOF\n")
    assert open_metrics.headers["vary"] == "Accept"
