"""No request costs more than its size: the event loop goes on, and answers to wrong input stay small."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from tests.e2e.api.loop_watch import LONGEST_CALLBACK, watched_loop
from tests.helpers.played_api import Api
from tests.helpers.service import problem, zipped

MIB = 1024 * 1024
MOST_SECONDS = 0.5
"""Seconds of processor time that a request may take of all threads."""
SMALL_ANSWER = 16 * 1024


async def sent(api: Api, method: str, path: str, **content: Any) -> httpx.Response:
    """Send a request from a thread; check that it takes little time, and little at once of the server's event loop."""

    def send() -> httpx.Response:
        with httpx.Client(base_url=api.url, timeout=60, trust_env=False) as client:
            return client.request(method, path, **content)

    await api.client.get("/health")
    for last in (False, False, True):  # On a machine that does other work, now and then any callback takes long.
        with watched_loop() as watch:
            begun = time.process_time()  # The watch begins with a garbage collection, which is not the request's.
            answer = await asyncio.to_thread(send)
            taken = time.process_time() - begun
        if watch.longest <= LONGEST_CALLBACK or last:
            break
    watch.check(f"{method} {path[:60]}")
    assert taken < MOST_SECONDS, "sending and receiving included"
    return answer


def filled(start: str, item: str, end: str, size: int = MIB) -> bytes:
    """Return JSON of about `size` bytes: a list of the same item."""
    count = (size - len(start) - len(end) - len(item)) // (len(item) + 1)
    return f"{start}{','.join([item] * count)}{end}".encode()


def many_names(value: str, count: int) -> str:
    return ",".join(f'"k{number}":{value}' for number in range(count))


REFUSED = {
    "digits in a string": b'{"command":"x","limits":{"memory":"%s"}}' % (b"9" * (MIB - 100)),
    "digits": b'{"command":"x","priority":%s}' % (b"9" * 300_000),
    "digits of a float": b'{"command":"x","timeout":1.%s}' % (b"9" * 300_000),
    "digits behind a zero": b'{"type":"echo","payload":{"a":0.%s}}' % (b"0" * 300_000),
    "duration": b'{"command":"x","timeout":"%s"}' % (b"9" * (MIB - 100)),
    "words": filled('{"command":[', "1", "]}"),
    "a word with many items": filled('{"command":["x",[', "[]", "]]}"),
    "conclusions": filled('{"command":"x","retry":{"on":[', '"x"', "]}}"),
    "few conclusions": filled('{"command":"x","retry":{"on":[', '"x"', "]}}", 30_000),
    "names": b'{"command":"x",%s}' % many_names("1", 80_000).encode(),
    "few names": b'{"command":"x",%s}' % many_names("1", 4_000).encode(),
    "variables": b'{"command":"x","env":{%s}}' % many_names("[]", 4_000).encode(),
    "labels": b'{"command":"x","labels":{%s}}' % many_names('"x"', 4_000).encode(),
    "steps": filled('{"steps":[', "{" + many_names("1", 20) + "}", "]}", 30_000),
    "long name": b'{"%s":1}' % (b"x" * (MIB - 100)),
    "long image": b'{"command":"x","image":"%s"}' % (b"a" * (MIB - 100)),
    "long variable": b'{"command":"x","env":{"A":"%s"}}' % (b"a" * (MIB - 100)),
    "control characters": b'{"command":"%s"}' % (b"\\u0001" * 170_000),
    "type": b'{"type":"%s"}' % (b"x" * (MIB - 100)),
    "list of numbers": filled('{"type":"echo","payload":{"a":[', "1", "]}}"),
    "list of lists": filled('{"type":"echo","payload":{"a":[', "[]", "]}}"),
    "list of objects": filled('{"type":"echo","payload":{"a":[', "{}", "]}}"),
    "list of texts": filled('{"type":"echo","payload":{"a":[', '""', "]}}"),
    "no JSON": b'{"command":"' + b'\\"' * (MIB // 2 - 10),
}

TAKEN = {
    "script": b'{"command":"%s"}' % (b"x" * (MIB - 100)),
    "script of quotation marks": b'{"command":"%s"}' % (b'\\"' * (MIB // 2 - 100)),
    "script of line ends": b'{"command":"%s"}' % (b"\\n" * (MIB // 2 - 100)),
    "script of URLs": b'{"command":"%s"}' % (b"a://b:c@d " * (MIB // 10 - 100)),
    "script of letters": '{"command":"%s"}'.replace("%s", "é" * (MIB // 2 - 100)).encode(),
    "script of commas": b'{"command":"%s"}' % (b"," * (MIB - 100)),
    "words": filled('{"command":[', '"a"', "]}", 35_000),
    "echo": filled('{"type":"echo","payload":{"a":[', '"%s"' % ("x" * 200), "]}}", MIB - 100),
    "steps": filled('{"steps":[', '{"run":"%s"}' % ("x" * 10_000), "]}", 1_000_000),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_wrong_body_costs_little_and_is_told_in_few_words(api: Api, name: str) -> None:
    answer = await sent(api, "POST", "/jobs", content=REFUSED[name])
    assert problem(answer, 400)["code"] == "invalid_request"
    assert len(answer.content) < SMALL_ANSWER


@pytest.mark.parametrize("name", TAKEN)
async def test_a_large_body_keeps_nobody_waiting(api: Api, name: str) -> None:
    answer = await sent(api, "POST", "/jobs", content=TAKEN[name])
    assert answer.status_code == 202, answer.text
    assert (await sent(api, "GET", answer.headers["location"])).status_code == 200


@pytest.mark.parametrize("name", ["digits in a string", "words", "names", "list of numbers"])
async def test_the_field_of_a_form_costs_as_little(api: Api, name: str) -> None:
    answer = await sent(
        api,
        "POST",
        "/submit-async",
        files={"file": ("p.zip", zipped({"ci.yaml": "command: x"}))},
        data={"spec": REFUSED[name].decode()},
    )
    problem(answer, 400)
    assert len(answer.content) < SMALL_ANSWER
    assert api.left_over() == []


async def test_a_large_field_of_a_form_keeps_nobody_waiting(api: Api) -> None:
    for spec in (TAKEN["script"], TAKEN["words"], TAKEN["script of line ends"]):
        answer = await sent(
            api, "POST", "/submit-async", files={"file": ("p.zip", zipped({"x": ""}))}, data={"spec": spec.decode()}
        )
        assert answer.status_code == 202, answer.text


async def test_conditions_of_a_cleanup(api: Api) -> None:
    for body in (filled('{"keep":5,"conclusion":[', "1", "]}"), filled('{"keep":5,"conclusion":[', "1", "]}", 15_000)):
        answer = await sent(api, "POST", "/jobs/cleanup", content=body)
        problem(answer, 400)
        assert len(answer.content) < SMALL_ANSWER


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/health", "&".join(f"k{number}" for number in range(2_500))),
        ("/health", "&".join(f"k{number}" for number in range(30))),
        ("/health", "x" * 15_000 + "=1"),
        ("/jobs", "&".join(["status=queued"] * 1_000)),
        ("/jobs", "&".join(["status=x"] * 30)),
        ("/jobs", "label=" + "x" * 15_000),
        ("/jobs", "since=" + "2" * 15_000),
        ("/jobs", "limit=" + "9" * 15_000),
        ("/jobs", "q=" + "a" * 15_000),
        ("/jobs", "cursor=" + "a" * 15_000),
    ],
    ids=lambda value: value[:20],
)
async def test_queries(api: Api, path: str, query: str) -> None:
    answer = await sent(api, "GET", f"{path}?{query}")
    assert "path" not in problem(answer, 400)
    assert len(answer.content) < SMALL_ANSWER


async def test_paths(api: Api) -> None:
    for path in ("/jobs/" + "a" * 15_000, "/" + "a" * 15_000):
        answer = await sent(api, "GET", path)
        problem(answer, 404)
        assert len(answer.content) < SMALL_ANSWER


async def test_only_the_first_errors_are_told(api: Api) -> None:
    steps: list[dict[str, Any]] = [{"run": "x", "colour": 1}] * 100
    document = problem(await sent(api, "POST", "/jobs", content=json.dumps({"steps": steps})), 400)
    assert [error["path"] for error in document["errors"]] == [f"steps.{number}.colour" for number in range(20)]
    assert document["detail"].endswith("; and 80 more")


async def test_a_list_of_large_jobs_keeps_nobody_waiting(api: Api) -> None:
    for number in range(20):
        await api.submit("x" * 900_000, project=f"p{number}")
    answer = await sent(api, "GET", "/jobs?limit=15")
    assert [job["project"] for job in answer.json()] == [f"p{number}" for number in range(19, 4, -1)]
    assert int(answer.headers["content-length"]) == len(answer.content) > 15 * 900_000
    assert "next" in answer.links
    head = await sent(api, "HEAD", "/jobs?limit=15")
    assert (head.content, head.headers["content-length"]) == (b"", answer.headers["content-length"])


async def test_the_last_lines_of_a_long_log_keep_nobody_waiting(api: Api) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    api.controller.write(job_id, b"\n" * 1_000_000 + b"x\n" * 200_000)
    await api.controller.finish(job_id)
    for lines in (1, 100_000):
        answer = await sent(api, "GET", f"/jobs/{job_id}/stream?tail={lines}")
        assert answer.text.count("x\\n") == lines


@pytest.mark.parametrize("path", ["/log", "/log/index", "?include=log", "/stream?tail=1"])
async def test_the_first_look_at_a_long_log_that_grows_keeps_nobody_waiting(api: Api, path: str) -> None:
    headers = {"Range": "bytes=0-0"} if path == "/log" else {}

    def look(job_id: str) -> None:
        url = f"{api.url}/jobs/{job_id}{path}"
        with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
            assert answer.is_success
            assert next(answer.iter_bytes())

    for last in (False, False, True):  # As for `sent`, but each time at another log.
        job_id = await api.submit()
        await api.controller.start(job_id)
        api.controller.write(job_id, (b"x" * 79 + b"\n") * 500_000)
        with watched_loop() as watch:
            await asyncio.to_thread(look, job_id)
        if watch.longest <= LONGEST_CALLBACK or last:
            break
    watch.check(path)


@pytest.mark.parametrize("path", ["/", "/metrics", "/jobs"])
@pytest.mark.parametrize("item", ["a,", ",", "a/b;q=1,", "a;", ";", '"', "bytes=0-0,", "http://", "[", " "])
async def test_a_long_header_costs_little(api: Api, path: str, item: str) -> None:
    value = ("x" + item * 16_000)[:15_000] + "x"
    for name in ("Accept", "Origin", "Range", "If-None-Match", "Last-Event-ID", "Content-Type"):
        assert (await sent(api, "GET", path, headers={name: value})).status_code == 200


@pytest.mark.parametrize("where", ["Content-Type", "Content-Disposition"])
@pytest.mark.parametrize("item", [";", "a;", 'a="b";', "a*0=b;", '"', "\\", "="])
async def test_a_long_header_of_a_form_costs_little(api: Api, item: str, where: str) -> None:
    values = {"Content-Type": "multipart/form-data; boundary=x;", "Content-Disposition": "form-data; name=file; "}
    values[where] += (item * 16_000)[:15_000]
    body = f"--x\r\nContent-Disposition: {values['Content-Disposition']}\r\n\r\nPK\r\n--x--\r\n".encode()
    headers = {"Content-Type": values["Content-Type"]}
    answer = await sent(api, "POST", "/submit-async", content=body, headers=headers)
    assert problem(answer, 400)["code"] == "invalid_upload"
    assert where == "Content-Disposition" or "Content-Type has 150" in answer.text
