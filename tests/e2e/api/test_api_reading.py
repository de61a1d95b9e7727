"""Projects that are hostile to their reader: refused by name, while other requests are served."""

import asyncio
import os
from typing import Any

import httpx
import pytest

from ci_common.sandbox.channel import ReadingLimits
from tests.e2e.api.hostile_projects import HOSTILE, zip_of
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.untrusted import kill_readers, link, readers_of
from tests.helpers.waiting import PATIENCE, eventually

PYTHON = zipped(test_a__py="def test(): pass")
SPINNING = zipped(test_a__py="", spin="")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, the time by the clock must not run out first."""
    monkeypatch.setattr(ReadingLimits, "longest_silence", property(lambda _: 10 * PATIENCE))


async def refusal(api: Api, answer: httpx.Response, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert api.left_over() == []
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_would_take_for_ever_to_read_is_refused_by_name_or_cut_short(start_api: StartApi, name: str) -> None:
    api = await start_api(read_timeout=1)
    api.client.timeout = 5 * PATIENCE
    file, content = HOSTILE[name]
    answer = await api.upload(content)
    if name != "dotted key" and answer.status_code == 202:
        return  # Recognition has found a way that is short.
    document = await refusal(api, answer, "invalid_request")
    assert document["detail"].startswith(f"{file} ")
    assert [error["path"] for error in document["errors"]] == [file]


async def test_what_takes_too_long_to_read_is_refused(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_server.services.MODULE", "tests.e2e.api.spinning_tasks")
    api = await start_api(read_timeout=1)
    api.client.timeout = 5 * PATIENCE
    document = await refusal(api, await api.upload(SPINNING), "invalid_request")
    assert document["detail"] == "the upload takes more than 1 seconds of a processor to read (CI_READ_TIMEOUT)"


async def test_what_takes_too_much_memory_to_read_is_refused(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_server.services.MODULE", "tests.e2e.api.spinning_tasks")
    api = await start_api(read_timeout=60, read_memory=64 * 1024**2)
    api.client.timeout = 5 * PATIENCE
    content = zipped(test_a__py="", hoard="")
    document = await refusal(api, await api.upload(content), "invalid_request")
    assert document["detail"] == "the upload takes more than 64 MiB of memory to read (CI_READ_MEMORY)"


@pytest.fixture
async def spinning(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A server that reads projects with a file `spin` for ever."""
    monkeypatch.setattr("ci_server.services.MODULE", "tests.e2e.api.spinning_tasks")
    api = await start_api(read_timeout=600)
    api.client.timeout = 5 * PATIENCE
    return api


async def test_eight_hostile_uploads_at_once_leave_others_alone(spinning: Api) -> None:
    hostile = [asyncio.create_task(spinning.upload(SPINNING)) for _ in range(8)]
    await eventually(lambda: len(list(spinning.data.incoming.glob("*/1/workspace/spin"))) >= 4)
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            assert (await spinning.upload(PYTHON)).status_code == 202
        assert (await spinning.client.get("/health")).status_code == 200
    assert not any(upload.done() for upload in hostile)
    for upload in hostile:
        upload.cancel()
    await asyncio.gather(*hostile, return_exceptions=True)
    await eventually(lambda: list(spinning.data.incoming.iterdir()) == [], "of clients that left nothing stays")
    await eventually(lambda: not any(map(_gives_way, readers_of(os.getpid()))), "nor do their readers")


async def test_a_server_that_is_stopped_ends_what_is_being_read(spinning: Api) -> None:
    hostile = asyncio.create_task(spinning.upload(SPINNING))
    await eventually(lambda: any(map(_gives_way, readers_of(os.getpid()))))
    spinning.serving.cancel()
    await asyncio.gather(spinning.serving, return_exceptions=True)
    assert readers_of(os.getpid()) == []
    assert (await hostile).status_code == 503
    assert spinning.left_over() == []


def _gives_way(pid: int) -> bool:
    try:
        return os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    except ProcessLookupError:
        return False


async def test_readers_that_are_killed_again_and_again_are_the_servers_fault(spinning: Api) -> None:
    killing = asyncio.create_task(_kill_readers())
    answer = await spinning.upload(SPINNING)
    killing.cancel()
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["error_id"]
    assert list(spinning.data.incoming.iterdir()) == []
    assert (await spinning.upload(PYTHON)).status_code == 202


async def _kill_readers() -> None:
    while True:
        kill_readers(readers_of(os.getpid()))
        await asyncio.sleep(0)


async def test_a_ci_yaml_that_links_to_itself(api: Api) -> None:
    answer = await api.upload(zip_of((link("ci.yaml"), "ci.yaml"), ("test_a.py", "")))
    document = await refusal(api, answer, "invalid_request")
    assert "ci.yaml" in document["detail"]
    assert str(api.data.path) not in document["detail"], "of the server's paths nothing is told"


async def test_links_to_themselves_elsewhere_are_taken(api: Api) -> None:
    answer = await api.upload(zip_of((link("a"), "a"), ("test_a.py", "")))
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ([("a/" * 990 + "test_a.py", "")], "a/a/"),
        ([(link(f"to-{n}"), f"to-{n + 1}") for n in range(1000)], "to-"),
        ([(link("to"), "x" * 4096)], "'to'"),
        ([("C:/test_a.py", "")], "'C:'"),
        ([("a\nb", "")], "'a\\nb'"),
    ],
    ids=["deep", "chain", "target", "drive", "control"],
)
async def test_archives_that_are_refused_by_the_members_name(
    api: Api, members: list[tuple[Any, str]], name: str
) -> None:
    document = await refusal(api, await api.upload(zip_of(*members)), "invalid_upload")
    assert name in document["detail"]
