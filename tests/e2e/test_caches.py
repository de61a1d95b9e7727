"""Caches: a later job finds what an earlier one has left, on both runtimes."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.e2e.conftest import Starter
from tests.helpers.service import finished, tree
from tests.helpers.waiting import eventually

HOME = "~/.cache/tool"
FILL = "mkdir -p ~/.cache/tool/bin && cd ~/.cache/tool && echo 1 >bin/run && chmod 750 bin/run && ln -s bin/run link"


class Runs:
    """Jobs of one project."""

    def __init__(self, client: CiClient, project: Path, image: str, url: str) -> None:
        self.client = client
        self.project = project
        self.image = image
        self.url = url

    async def submit(self, command: str, **cache: Any) -> str:
        fields = {name: cache.pop(name) for name in ("project", "retry", "untrusted") if name in cache}
        wish = {"image": self.image, "command": command, "cache": [{"path": HOME, "key": "k", **cache}], **fields}
        return await self.client.submit(self.project, spec=wish)

    async def run(self, command: str, **cache: Any) -> tuple[dict[str, Any], str]:
        """Return a job with a cache that has ended, once it is known what has become of that, and its log."""
        job_id = await self.submit(command, **cache)
        await finished(self.client, job_id)
        job: dict[str, Any] = {}

        async def is_cleared() -> bool:
            nonlocal job
            job = await self.client.get_job(job_id)
            return any(milestone["station"] == "cleared" for milestone in job["timing"])

        await eventually(is_cleared, "the job is cleaned up")
        return job, b"".join([chunk async for chunk in self.client.log(job_id)]).decode()


@pytest.fixture
async def runs(start: Starter, tmp_path: Path, shell_image: str) -> AsyncIterator[Runs]:
    service = start()
    project = tree(tmp_path / "project", {"lock.txt": "one\n"})
    async with CiClient(service.url) as client:
        yield Runs(client, project, shell_image, service.url)


async def test_the_next_job_finds_what_a_job_has_left(runs: Runs) -> None:
    first, log = await runs.run(FILL)
    assert first["conclusion"] == "succeeded", log
    assert re.fullmatch(
        rf'ci: cache {HOME}: not found\nci: cache {HOME}: packed, to be saved as "k" \(.* KiB, \d+\.\d s\)\n', log
    )
    (cache,) = first["caches"]
    assert cache["saved"]
    assert (cache["path"], cache["key"], cache["restored_from"]) == (HOME, "k", None)
    second, log = await runs.run("cd ~/.cache/tool && cat link && ls -l bin | tail -1")
    assert re.fullmatch(rf'ci: cache {HOME}: restored from "k" \(.* KiB, \d+\.\d s\)\n1\n-rwxr-x---.* run\n', log)
    assert second["caches"] == [cache | {"restored_from": "k", "saved": False}], "an exact hit is not saved again"
    (kept,) = await runs.client.caches()
    assert (kept["path"], kept["key"], kept["files"], kept["job_id"]) == (HOME, "k", 4, first["job_id"])


async def test_keys_are_hashes_and_prefixes_find_older_ones(runs: Runs) -> None:
    asked = {"key": "tool-{{ hash('*.txt') }}", "restore": ["tool-"]}
    first, _ = await runs.run(FILL, **asked)
    (runs.project / "lock.txt").write_text("two\n")
    second, _ = await runs.run("cd ~/.cache/tool && cat link && echo 2 >link", **asked)
    assert second["caches"][0]["restored_from"] == first["caches"][0]["key"] != second["caches"][0]["key"]
    assert second["caches"][0]["saved"]
    _, log = await runs.run("cat ~/.cache/tool/link", **asked)
    assert log.endswith("\n2\n")
    (runs.project / "lock.txt").write_text("one\n")
    _, log = await runs.run("cat ~/.cache/tool/link", **asked)
    assert log.endswith("\n1\n"), "what a job changes is its own copy"


async def test_a_job_that_is_not_trusted_finds_caches_and_leaves_none(runs: Runs) -> None:
    first, _ = await runs.run(FILL, untrusted=True)
    assert (first["conclusion"], first["caches"][0]["saved"]) == ("succeeded", False)
    second, log = await runs.run(FILL)
    assert (second["caches"][0]["restored_from"], second["caches"][0]["saved"]) == (None, True), log
    third, _ = await runs.run("cat ~/.cache/tool/link; echo 2 >~/.cache/tool/link", untrusted=True, restore=["k"])
    assert (third["caches"][0]["restored_from"], third["caches"][0]["saved"]) == ("k", False)


async def test_other_projects_see_nothing(runs: Runs) -> None:
    await runs.run(FILL, project="one")
    job, log = await runs.run("! ls ~/.cache/tool", project="other")
    assert job["caches"][0]["restored_from"] is None
    assert f"ci: cache {HOME}: not found\n" in log


@pytest.mark.parametrize(("when", "code", "is_saved"), [
    ("success", 1, False), ("failure", 1, True), ("failure", 0, False), ("always", 1, True), ("always", 0, True),
])  # fmt: skip
async def test_what_is_saved_depends_on_the_end(runs: Runs, when: str, code: int, is_saved: bool) -> None:
    job, _ = await runs.run(f"{FILL}; exit {code}", when=when)
    assert job["exit_code"] == code
    assert job["caches"][0]["saved"] is is_saved
    assert len(await runs.client.caches()) == is_saved


async def test_a_job_that_is_cancelled_leaves_nothing(runs: Runs) -> None:
    job_id = await runs.submit(f"{FILL}; echo ready; sleep 60", when="always")

    async def is_ready() -> bool:
        return b"ready" in b"".join([chunk async for chunk in runs.client.log(job_id)])

    await eventually(is_ready, "the job has filled its cache")
    await runs.client.cancel_job(job_id)
    job = await finished(runs.client, job_id)
    assert job["conclusion"] == "cancelled"
    assert job["caches"][0]["saved"] is False
    assert await runs.client.caches() == []


async def test_parallel_jobs_and_the_last_one_stays_whole(runs: Runs) -> None:
    fill = "mkdir -p ~/.cache/tool; for n in 1 2 3 4 5 6 7 8 9; do echo {} >~/.cache/tool/$n; done"
    await asyncio.gather(*(runs.run(fill.format(f"job{number}")) for number in range(4)))
    _, log = await runs.run("cat ~/.cache/tool/* | sort | uniq -c")
    assert re.search(r"\n *9 job\d\n$", log), log
    assert len(await runs.client.caches()) == 1


async def test_the_workspace_can_be_cached(runs: Runs) -> None:
    await runs.run("mkdir deps; echo 1 >deps/one", path="deps")
    _, log = await runs.run("cat deps/one", path="deps")
    assert log.endswith("\n1\n")
    _, log = await runs.run("ls deps", path="other", key="other")
    assert "No such file" in log


async def test_what_cannot_be_kept_is_not(runs: Runs) -> None:
    job, _ = await runs.run("mkdir -p ~/.cache/tool; mkfifo ~/.cache/tool/fifo")
    assert job["conclusion"] == "succeeded"
    assert job["caches"][0]["saved"] is False
    _, log = await runs.run("true")
    assert log.endswith(f"ci: cache {HOME}: not saved, since it is no file or directory\n")
    _, log = await runs.run("mkdir -p ~/.cache; ln -s /etc ~/.cache/tool")
    assert log.endswith(f"ci: cache {HOME}: not saved, since it is no file or directory\n")
    forge = "printf x >{0}/caches/0.out; printf '' >{0}/caches/0.out.done; rm -rf ~/.cache/tool"
    place = "$(cd ..; pwd)" if runs.image == "none" else "/ci"
    await runs.run(forge.format(place))
    assert await runs.client.caches() == []


async def test_what_is_too_large_is_not_kept(start: Starter, tmp_path: Path, shell_image: str) -> None:
    service = start(CI_MAX_CACHE_BYTES="64k", CI_CACHE_BYTES="100k")
    async with CiClient(service.url) as client:
        runs = Runs(client, tree(tmp_path / "project", {"x": ""}), shell_image, service.url)
        _, log = await runs.run("mkdir -p ~/.cache; head -c 70000 /dev/zero >~/.cache/tool")
        assert log.endswith(f"ci: cache {HOME}: not saved, since it has more than 64.0 KiB, or cannot be read\n")
        for key in ("a", "b", "c"):
            await runs.run("mkdir -p ~/.cache; head -c 40000 /dev/zero >~/.cache/tool", key=key)
        assert [cache["key"] for cache in await client.caches()] == ["c", "b"]
        archives = tmp_path / "ci_jobs-data" / "caches"
        if archives.exists():
            assert len(list(archives.iterdir())) == 2


async def test_caches_are_removed(runs: Runs) -> None:
    await runs.run(FILL)
    (kept,) = await runs.client.caches()
    await runs.client.remove_cache(kept["id"])
    with pytest.raises(ServerError):
        await runs.client.remove_cache(kept["id"])
    job, _ = await runs.run("true")
    assert job["caches"][0]["restored_from"] is None
