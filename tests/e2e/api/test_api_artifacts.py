"""Artifacts over HTTP: the list, one file with ranges and conditions, all as one archive."""

import hashlib
import io
import os
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx
import pytest

from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.s3 import S3Store
from ci_common.artifacts.store import ArtifactStore, Kept
from ci_common.artifacts.types import content_type_of
from ci_common.attempts.parts import Artifact, JobArtifacts, LeftOut
from ci_common.jobs import new_job_id
from ci_common.times import to_micros, utc_now
from ci_common.wire.answers import JobView
from ci_common.wire.results.artifacts import ArtifactListView
from tests.contracts.artifact_store.s3_server import in_environment, make_bucket, s3_server
from tests.contracts.artifact_store.suite import Bytes, nothing
from tests.helpers.played_api import Api, StartApi

TEXT = b"".join(b"line %d\n" % number for number in range(200_000))
HOSTILE = {
    "a b%c?d#e&f+g.txt": b"1",
    'q"uote;\\back.html': b"<script>alert(1)</script>",
    "größe/\u202egnp.exe": b"3",
    "CON": b"4",
    "dir/README": b"5",
    "dir/readme": b"6",
    "..a/...": b"7",
    "a\\..\\..\\evil": b"8",
    "trailing. ": b"9",
    "x" * 255: b"10",
}


class Served(NamedTuple):
    """A job whose artifacts are served."""

    job_id: str
    url: str


async def with_artifacts(
    api: Api, contents: dict[str, bytes], *, expires: int | None = None, store: ArtifactStore | None = None
) -> Served:
    job_id = await api.submit()
    await api.controller.start(job_id)
    store, prefix, files = store or DirectoryStore(api.data.artifacts), f"{job_id}/1/{new_job_id()}", []
    for number, (path, content) in enumerate(sorted(contents.items())):
        (kept,) = await store.keep([Bytes(f"{prefix}/{number}", content)], nothing)
        assert isinstance(kept, Kept)
        digest = hashlib.sha256(content).hexdigest()
        files.append(Artifact(path, len(content), digest, content_type_of(path), kept.key, expires=expires))
    left_out = (LeftOut("pipe", "it is a FIFO"),)
    size = sum(map(len, contents.values()))
    await api.controller.finish(job_id, artifacts=JobArtifacts(len(files), size, tuple(files), 1, left_out))
    return Served(job_id, f"/jobs/{job_id}/artifacts")


async def test_the_list_and_the_job_tell_the_same(api: Api) -> None:
    served = await with_artifacts(api, {f"{number:04}": b"x" for number in range(150)})
    listed = (await api.client.get(served.url)).json()
    ArtifactListView.model_validate(listed)
    job = (await api.client.get(f"/jobs/{served.job_id}")).json()
    JobView.model_validate(job)
    assert job["artifacts"] == listed["artifacts"][:100]
    totals = {name: value for name, value in listed.items() if name != "artifacts"}
    assert (
        job["artifact_totals"]
        == totals
        == {
            "number": 150,
            "bytes": 150,
            "left_out_number": 1,
            "left_out": [{"path": "pipe", "reason": "it is a FIFO"}],
        }
    )
    assert [one["path"] for one in listed["artifacts"]] == [f"{number:04}" for number in range(150)]


async def test_a_job_without_artifacts(api: Api) -> None:
    job_id = await api.submit()
    assert (await api.client.get(f"/jobs/{job_id}/artifacts")).json() == {
        "number": 0, "bytes": 0, "left_out_number": 0, "left_out": [], "artifacts": [],
    }  # fmt: skip
    for path in ("artifacts/x", "artifacts.zip", "artifacts/", "artifacts/a%0Ab"):
        answer = await api.client.get(f"/jobs/{job_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


@pytest.mark.parametrize("content", [TEXT, os.urandom(100_000)], ids=["compressed", "plain"])
async def test_every_part_of_a_file(api: Api, content: bytes) -> None:
    served = await with_artifacts(api, {"log.txt": content})
    url, size = f"{served.url}/log.txt", len(content)
    whole = await api.client.get(url)
    assert whole.content == content
    assert whole.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert whole.headers["accept-ranges"] == "bytes"
    for wanted, part in [
        ("bytes=0-0", content[:1]),
        (f"bytes={size - 7}-", content[-7:]),
        ("bytes=-9", content[-9:]),
        ("bytes=70000-90000", content[70000:90001]),
    ]:
        answer = await api.client.get(url, headers={"Range": wanted, "If-Range": whole.headers["etag"]})
        assert (answer.status_code, answer.content) == (206, part)
    assert (await api.client.get(url, headers={"Range": "bytes=0-0", "If-Range": '"other"'})).status_code == 200
    assert (await api.client.get(url, headers={"Range": f"bytes={size}-"})).status_code == 416
    head = await api.client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


async def test_what_the_client_has_is_not_sent_again(api: Api) -> None:
    served = await with_artifacts(api, {"a": b"content"})
    etag = (await api.client.get(f"{served.url}/a")).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await api.client.get(f"{served.url}/a", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await api.client.get(f"{served.url}/a", headers={"If-None-Match": '"other"'})).status_code == 200


async def test_every_name_is_found_and_none_lets_a_browser_run_script(api: Api) -> None:
    served = await with_artifacts(api, HOSTILE)
    for path, content in HOSTILE.items():
        answer = await api.client.get(f"{served.url}/{quote(path, safe='/')}")
        assert (answer.status_code, answer.content) == (200, content), path
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "javascript" not in answer.headers["content-type"]
        saved = await api.client.get(f"{served.url}/{quote(path, safe='/')}?download=true")
        assert saved.headers["content-disposition"].startswith("attachment; filename=")
    for path in ("..%2f..%2fjobs.db", "%2e%2e/x", "a%00b", "%ff", "dir", "dir/", "/CON", "x" * 5000):
        assert (await api.client.get(f"{served.url}/{path}")).status_code in (404, 414), path


async def test_scripts_of_a_report_run_in_a_frame_only_and_reach_nothing(api: Api) -> None:
    served = await with_artifacts(api, {"a.html": b"<p>", "a.svg": b"<svg/>"})

    async def policy_of(url: str, destination: str) -> str:
        answer = await api.client.get(f"{served.url}/{url}", headers={"Sec-Fetch-Dest": destination})
        return str(answer.headers["content-security-policy"])

    framed = await policy_of("a.html?report=true", "iframe")
    assert framed.startswith("sandbox allow-scripts; default-src 'none';")
    assert "allow-same-origin" not in framed
    assert "'self'" not in framed.replace("frame-ancestors 'self'", "")
    for url, destination in (
        ("a.html?report=true", "document"),
        ("a.html", "iframe"),
        ("a.html?report=false", "iframe"),
        ("a.svg?report=true", "iframe"),
    ):
        assert (await policy_of(url, destination)).startswith("sandbox; default-src 'none';"), url


async def test_all_of_them_as_one_archive(api: Api) -> None:
    served = await with_artifacts(api, HOSTILE | {"log.txt": TEXT, "empty": b"", "noise.zip": os.urandom(300_000)})
    answer = await api.client.get(f"/jobs/{served.job_id}/artifacts.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("log.txt") == TEXT
        assert len(answer.content) < len(TEXT)
    assert len({name.casefold() for name in names}) == len(HOSTILE) + 3
    assert {"dir/README", "dir/readme (2)", "_CON", "a_.._.._evil", "trailing._", "größe/_gnp.exe"} <= {*names}
    some = await api.client.get(f"/jobs/{served.job_id}/artifacts.zip", params={"path": ["*.txt", "dir"]})
    with zipfile.ZipFile(io.BytesIO(some.content)) as archive:
        assert archive.namelist() == ["a b%c_d#e&f+g.txt", "dir/README", "dir/readme (2)", "log.txt"]
    assert (await api.client.get(f"/jobs/{served.job_id}/artifacts.zip?path=nothing")).status_code == 404
    assert (await api.client.get(f"/jobs/{served.job_id}/artifacts.zip?path=/etc")).status_code == 400


async def test_what_has_expired_is_not_served(api: Api) -> None:
    served = await with_artifacts(api, {"a": b"x"}, expires=to_micros(utc_now() - timedelta(seconds=1)))
    assert (await api.client.get(f"{served.url}/a")).status_code == 404
    assert "has expired" in (await api.client.get(f"{served.url}/a")).json()["detail"]
    assert (await api.client.get(f"/jobs/{served.job_id}/artifacts.zip")).status_code == 404
    assert [one["path"] for one in (await api.client.get(served.url)).json()["artifacts"]] == ["a"]


async def test_a_content_that_is_gone_or_damaged_is_told(api: Api) -> None:
    served = await with_artifacts(api, {"a": b"x", "b": TEXT})
    for path in api.data.artifacts.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    for name in ("a", "b"):
        answer = await api.client.get(f"{served.url}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "gone from the store" in answer.json()["detail"]


async def test_an_earlier_attempt_is_asked_for_by_its_number(api: Api) -> None:
    served = await with_artifacts(api, {"a": b"x"})
    assert (await api.client.get(f"{served.url}?attempt=1")).json()["number"] == 1
    for path in ("artifacts", "artifacts/a", "artifacts.zip"):
        answer = await api.client.get(f"/jobs/{served.job_id}/{path}?attempt=2")
        assert (answer.status_code, answer.json()["code"]) == (404, "attempt_not_found")


async def test_a_store_is_asked_itself(start_api: StartApi, tmp_path: Path) -> None:
    """With S3: a redirect to a signed URL, or all through the server; the archive always comes from the server."""
    with s3_server(tmp_path / "s3.log") as server, in_environment(server):
        make_bucket(server, "artifacts")
        store, content = S3Store("s3://artifacts/x"), b"<script>alert(1)</script>" * 1000
        for links in ("signed", "none"):
            api = await start_api(links, artifacts_url="s3://artifacts/x", artifacts_links=links)
            served = await with_artifacts(api, {"a b.html": content}, store=store)
            answer = await api.client.get(f"{served.url}/a%20b.html", headers={"Range": "bytes=3-7"})
            if links == "none":
                assert (answer.status_code, answer.content) == (206, content[3:8])
                continue
            assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
            async with httpx.AsyncClient(trust_env=False) as client:
                direct = await client.get(answer.headers["location"])
            assert direct.content == content
            assert direct.headers["content-disposition"] == 'attachment; filename="a b.txt"', "as it was kept"
            archive = await api.client.get(f"{served.url}.zip")
            assert zipfile.ZipFile(io.BytesIO(archive.content)).read("a b.html") == content
