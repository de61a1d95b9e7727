"""How a project goes, over HTTP."""

from typing import Any

from ci_common.access.identity import Role
from ci_common.attempts.columns import CaseColumns
from ci_common.attempts.testing import CaseStatus, CaseSummary
from ci_common.wire.results.trend_answers import ProjectTestsView, TrendView
from tests.contracts.report_suite import case
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api
from tests.helpers.service import problem


async def ended(api: Api, exit_code: int = 0, **fields: Any) -> str:
    """Return a job with two tests, of which the first fails with it, and three quarters of its lines covered."""
    job_id = await api.submit(project="web", **fields)
    await api.controller.start(job_id)
    reports, lease = api.controller.storage.reports, api.controller.lease
    await reports.begin(job_id, 1, scope="s", content=None, lease=lease)
    status = CaseStatus.FAILED if exit_code else CaseStatus.PASSED
    cases = CaseColumns.of([case(0, status, seconds=0.5, flaky=bool(exit_code)), case(1, seconds=1.5)])
    await reports.add(job_id, 1, cases, lease)
    await reports.finish(job_id, 1, {"coverage": {"lines": 8, "covered": 6}}, lease)
    await api.controller.finish(job_id, exit_code, tests=CaseSummary(total=2, passed=2 - bool(exit_code)))
    return job_id


async def test_the_trend_of_a_project(api: Api) -> None:
    empty = await api.client.get("/projects/web/trend")
    assert empty.json() == {"project": "web", "conclusions": {}, "success": None, "seconds": None, "jobs": []}
    jobs = [await ended(api), await ended(api, 1, labels={"a": "b"}), await ended(api)]
    await api.controller.cancel(await api.submit(project="web"))
    trend = (await api.client.get("/projects/web/trend")).json()
    TrendView.model_validate(trend)
    assert trend["conclusions"] == {"succeeded": 2, "failed": 1, "cancelled": 1}
    assert trend["success"] == 0.6667, "who cancels a job says nothing of the project"
    assert [job["job_id"] for job in trend["jobs"]][1:] == jobs[::-1]
    assert (trend["jobs"][1]["coverage"], trend["jobs"][2]["tests"]["passed"]) == (75.0, 1)
    assert trend["seconds"]["longest"] >= trend["seconds"]["p95"] >= trend["seconds"]["median"] >= 0
    few = (await api.client.get("/projects/web/trend?label=a:b")).json()
    assert [job["job_id"] for job in few["jobs"]] == [jobs[1]]


async def test_a_name_with_a_slash_has_a_trend(api: Api) -> None:
    await api.controller.cancel(await api.submit(project="team/web"))
    trend = (await api.client.get("/projects/team%2Fweb/trend")).json()
    assert (trend["project"], trend["conclusions"]) == ("team/web", {"cancelled": 1})
    assert (await api.client.get("/projects/team%2Fweb/tests")).json()["project"] == "team/web"


async def test_the_tests_of_a_project(api: Api) -> None:
    jobs = [await ended(api), await ended(api, 1), await ended(api)]
    for sort, name in (("flaky", "test_0"), ("failing", "test_0"), ("slowest", "test_1")):
        found = (await api.client.get(f"/projects/web/tests?sort={sort}")).json()
        ProjectTestsView.model_validate(found)
        assert (found["runs"], found["tests"][0]["name"], found["tests"][0]["runs"]) == (3, name, 3)
    first = (await api.client.get("/projects/web/tests?runs=2&limit=1")).json()["tests"][0]
    assert (first["failed"], first["flaky"], first["passed"], first["mean_seconds"]) == (1, 1, 1, 0.5)
    assert (first["last"]["job_id"], first["last"]["status"]) == (jobs[2], "passed")
    history = await api.client.get(f"/jobs/{jobs[2]}/tests/{first['id']}")
    assert [past["status"] for past in history.json()["history"]] == ["passed", "failed", "passed"]


async def test_a_project_is_shown_to_those_who_see_its_jobs(api: Api) -> None:
    api.client.headers.update(bearing(await stored_key(api.controller.storage)))
    await ended(api)
    own = await stored_key(api.controller.storage, role=Role.VIEWER, projects=frozenset({"other"}))
    for path in ("/projects/web/trend", "/projects/web/tests"):
        assert problem(await api.client.get(path, headers=bearing(own)), 404)["code"] == "project_not_found"
    assert (await api.client.get("/projects/other/trend", headers=bearing(own))).json()["jobs"] == []


async def test_what_cannot_be_asked_is_refused_by_name(api: Api) -> None:
    for path, name in (("trend?limit=501", "limit"), ("tests?sort=new", "sort"), ("tests?runs=0", "runs")):
        answer = problem(await api.client.get(f"/projects/web/{path}"), 400)
        assert answer["errors"][0]["path"] == name
