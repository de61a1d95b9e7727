"""`GET /queue`."""

from typing import Any

from ci_common.access.identity import Role
from ci_common.jobs import Reason, ReasonCode
from ci_common.system.processes import this_process
from ci_common.wire.queue_answers import QueueView
from tests.helpers.keys import bearing, stored_key
from tests.helpers.played_api import Api


async def queue(api: Api, query: str = "", **headers: str) -> dict[str, Any]:
    answer = await api.client.get(f"/queue{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    QueueView.model_validate(answer.json())
    document: dict[str, Any] = answer.json()
    return document


async def test_the_slots_are_those_of_the_controller(api: Api) -> None:
    assert await api.controller.storage.leases.acquire(this_process(), 60, slots=9) is not None
    assert (await queue(api))["slots"] == {"total": 9, "used": 0}


async def test_the_queue_says_what_waits_and_why(api: Api) -> None:
    empty = await queue(api)
    assert (empty["slots"], empty["queued"], empty["jobs"]) == ({"total": 4, "used": 0}, 0, [])
    await api.controller.start(await api.submit(project="a"))
    first, second = await api.submit(project="a"), await api.submit(project="a")
    other = await api.submit(project="b")
    urgent = await api.submit(project="a", priority=5)
    await api.controller.cancel(await api.submit(project="c"))
    await api.controller.update(first, reason=Reason(ReasonCode.PULLING_IMAGE, "pulling busybox: 3 of 9 MB"))
    found = await queue(api)
    assert found["slots"] == {"total": 4, "used": 1}
    assert (found["queued"], found["starting"], found["running"]) == (4, 0, 1)
    assert found["reasons"] == {"waiting_for_controller": 3, "pulling_image": 1}
    told = [(job["position"], job["job_id"], job["reason"]["code"]) for job in found["jobs"]]
    waits = "waiting_for_controller"
    assert told == [(1, urgent, waits), (2, other, waits), (3, first, "pulling_image"), (4, second, waits)]
    projects = [(each["project"], each["queued"], each["running"]) for each in found["projects"]]
    assert projects == [("a", 3, 1), ("b", 1, 0)]
    assert found["projects"][0]["oldest_submit_time"] == found["jobs"][2]["submit_time"]
    assert [job["position"] for job in (await queue(api, f"?job_id={second}&limit=1"))["jobs"]] == [4]
    assert [job["job_id"] for job in (await queue(api, "?project=b"))["jobs"]] == [other]
    assert (await queue(api, "?limit=0"))["jobs"] == []


async def test_jobs_that_cannot_be_seen_count_and_are_not_shown(api: Api) -> None:
    api.client.headers.update(bearing(await stored_key(api.controller.storage)))
    hidden, own = await api.submit(project="a"), await api.submit(project="b")
    key = await stored_key(api.controller.storage, role=Role.VIEWER, projects=frozenset({"b"}))
    found = await queue(api, **bearing(key))
    assert [(job["position"], job["job_id"]) for job in found["jobs"]] == [(2, own)]
    assert (found["queued"], [each["project"] for each in found["projects"]]) == (1, ["b"])
    assert (await queue(api, f"?job_id={hidden}", **bearing(key)))["jobs"] == []
