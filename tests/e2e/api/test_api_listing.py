"""Listing jobs over HTTP: filters, pages, and queries that are not valid."""

from tests.helpers.played_api import Api
from tests.helpers.service import paths, problem


async def test_listing(api: Api) -> None:
    first = await api.submit(project="a", labels={"k": "v", "x": "1"})
    second = await api.submit(project="b", labels={"k": "v"})
    third = (await api.client.post("/jobs", json={"type": "echo"})).json()["job_id"]
    await api.controller.start(second)
    await api.controller.start(first)
    await api.controller.finish(first, exit_code=1)

    async def ids(query: str) -> list[str]:
        answer = await api.client.get(f"/jobs?{query}")
        assert answer.status_code == 200, answer.text
        return [job["job_id"] for job in answer.json()]

    assert await ids("") == [third, second, first]
    assert await ids("status=queued") == [third]
    assert await ids("status=queued&status=running") == [third, second]
    assert await ids("conclusion=failed") == [first]
    assert await ids("type=echo") == [third]
    assert await ids("project=b") == [second]
    assert await ids("label=k:v") == [second, first]
    assert await ids("label=k:v&label=x:1") == [first]
    assert await ids(f"q={first}") == [first]
    time = (await api.client.get(f"/jobs/{second}")).json()["submit_time"]
    assert await ids(f"since={time}") == [third, second]
    assert await ids(f"before={time}") == [first]
    assert await ids(f"before={time.replace('Z', '+00:00')}") == [first]


async def test_pages(api: Api) -> None:
    submitted = [await api.submit(project="a") for _ in range(5)]
    url: str | None = "/jobs?limit=2&project=a"
    seen: list[list[str]] = []
    while url is not None:
        answer = await api.client.get(url)
        seen.append([job["job_id"] for job in answer.json()])
        url = answer.links.get("next", {}).get("url")
    assert seen == [submitted[4:2:-1], submitted[2:0:-1], submitted[:1]]


INVALID_QUERIES = [
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=x", "limit"),
    ("limit=1&limit=2", "limit"),
    ("cursor=x", "cursor"),
    ("status=done", "status.0"),
    ("conclusion=bad", "conclusion"),
    ("label=x", "label.0"),
    ("since=yesterday", "since"),
    ("since=2025-01-01T00:00:00", "since"),
    ("colour=red", "colour"),
]


async def test_queries_that_are_not_valid(api: Api) -> None:
    for query, path in INVALID_QUERIES:
        assert paths(problem(await api.client.get(f"/jobs?{query}"), 400)) == [path]
