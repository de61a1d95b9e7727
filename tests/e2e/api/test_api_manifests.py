"""Uploads by manifest: what the client sends, what the server keeps, and what it refuses."""

import asyncio
import fcntl
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from ci_client.aio import CiClient
from ci_client.errors import PackingError
from ci_client.packing import scan
from ci_client.packing.archive import pack_directory
from ci_client.packing.frames import frames_to_send, read_frame
from ci_client.packing.scan import scan_directory
from ci_common.access.identity import Identity, Scope
from ci_common.archives.unpack import UnpackLimits
from ci_common.manifests import packs
from ci_common.manifests.entries import Entry, manifest_text
from ci_common.manifests.packs import compressed, compressed_text
from ci_common.manifests.session import SPARE, spare_workspace
from ci_common.manifests.stored import read_tree
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import StartFault
from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_common.times import utc_now
from ci_controller.backup.manifest import Backup, BackupFault
from ci_controller.backup.restore import restore_backup
from ci_controller.backup.take import take_backup
from ci_controller.gc.expired_jobs import Ages, ExpiredUploads
from ci_controller.run_directory.workspace import fill_workspace
from ci_server.uploads import manifests, spares
from tests.helpers.machine import shape_of
from tests.helpers.played_api import Api, StartApi
from tests.helpers.waiting import eventually


class Usage(NamedTuple):
    """How full a disk is."""

    total: int
    free: int


CI = "command: 'true'\n"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "empty" / "inner").mkdir(parents=True)
    (root / "ci.yaml").write_text(CI)
    (root / "src" / "a.py").write_text("print(1)\n" * 1000)
    (root / "src" / "same.py").write_text("print(1)\n" * 1000)
    (root / "src" / "deep" / "nothing").touch()
    (root / "src" / "run").write_text("#!/bin/sh\n")
    (root / "src" / "run").chmod(0o750)
    (root / "ünï cödé 'x' $y").write_bytes(os.urandom(5000))
    (root / "link").symlink_to("src/a.py")
    (root / "to-folder").symlink_to("src/deep")
    (root / "dangling").symlink_to("not there")
    return root


def workspace(api: Api, job_id: str) -> Path:
    return api.data.run(job_id, 1).workspace


async def begin(api: Api, entries: list[Entry] | str, **params: str) -> httpx.Response:
    text = entries if isinstance(entries, str) else manifest_text(entries)
    return await api.client.post("/uploads", params=params, content=compressed_text(text))


async def send(api: Api, upload_id: str, content: bytes, frame: int = 0) -> httpx.Response:
    return await api.client.patch(f"/uploads/{upload_id}", params={"frame": frame}, content=content)


async def submitted(api: Api, directory: Path, **spec: Any) -> tuple[str, int]:
    """Submit a directory as the command line does; return the job's id and how many bytes were sent."""
    scanned = await asyncio.to_thread(scan_directory, directory)
    async with CiClient(api.url) as client:
        return await client.submit(scanned, spec=spec or None), scanned.sent_bytes


async def test_the_workspace_is_the_directory(api: Api, tree: Path) -> None:
    job_id, _ = await submitted(api, tree)
    assert shape_of(workspace(api, job_id)) == shape_of(tree)
    assert [path.name for path in api.data.incoming.iterdir()] == []
    job = await api.controller.storage.jobs.get(job_id)
    assert job.has_upload
    assert job.payload["upload"]["size"] == sum(entry.size for entry in scan_directory(tree).entries)


async def test_it_is_what_an_archive_gives(api: Api, tree: Path) -> None:
    by_manifest, _ = await submitted(api, tree)
    with pack_directory(tree).file as archive:
        answer = await api.upload(archive.read())
    assert shape_of(workspace(api, by_manifest)) == shape_of(workspace(api, answer.json()["job_id"]))


async def test_only_what_has_changed_is_sent(api: Api, tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(300_000))
    _, first = await submitted(api, tree)
    assert first > 300_000
    _, unchanged = await submitted(api, tree)
    assert unchanged < 100
    (tree / "src" / "a.py").write_text("print(2)\n")
    shutil.move(tree / "large", tree / "moved")
    os.unlink(tree / "link")
    (tree / "link").write_text("a file now")
    job_id, changed = await submitted(api, tree)
    assert changed < 1000
    assert shape_of(workspace(api, job_id)) == shape_of(tree)


async def test_without_a_memory_the_server_still_has_it(
    api: Api, tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tree / "large").write_bytes(os.urandom(300_000))
    await submitted(api, tree)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    job_id, sent = await submitted(api, tree)
    assert sent < 2000
    assert shape_of(workspace(api, job_id)) == shape_of(tree)


async def test_a_base_that_was_deleted(api: Api, tree: Path) -> None:
    job_id, _ = await submitted(api, tree)
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    shutil.rmtree(api.data.job(job_id))
    again, _ = await submitted(api, tree)
    assert shape_of(workspace(api, again)) == shape_of(tree)


async def test_another_project_has_nothing_of_it(api: Api, tree: Path) -> None:
    """Who knows a digest has not shown that it has the file."""
    (tree / "large").write_bytes(os.urandom(300_000))
    job_id, _ = await submitted(api, tree, project="a")
    scanned = scan_directory(tree)
    answer = await begin(api, scanned.entries, project="b")
    files = {entry.content for entry in scanned.entries if entry.is_file and entry.size}
    assert sum(last - first + 1 for first, last in answer.json()["missing"]) == len(files)
    answer = await begin(api, "", project="b", base=job_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_base_gone")
    _, sent = await submitted(api, tree, project="b")
    assert sent > 300_000


async def test_a_retry_has_the_same_files(api: Api, tree: Path) -> None:
    job_id, _ = await submitted(api, tree)
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    answer = await api.client.post(f"/jobs/{job_id}/retry")
    assert answer.status_code == 202, answer.text
    shutil.rmtree(api.data.job(job_id))
    assert shape_of(workspace(api, answer.json()["job_id"])) == shape_of(tree)
    again, sent = await submitted(api, tree)
    assert sent < 2000, "what the retry has is used again"
    assert shape_of(workspace(api, again)) == shape_of(tree)


async def test_large_files_are_sent_in_frames(api: Api, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "large").write_bytes(os.urandom(2 * packs.FRAME_BYTES + 17))
    (tree / "src" / "twin").write_bytes((tree / "large").read_bytes())
    job_id, _ = await submitted(api, tree)
    assert shape_of(workspace(api, job_id)) == shape_of(tree)


async def test_an_interrupted_upload_goes_on_where_it_was(api: Api, tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(2 * packs.FRAME_BYTES + 17))
    project = scan_directory(tree)
    answer = (await begin(api, project.entries)).json()
    wanted = [project.entries[n] for first, last in answer["missing"] for n in range(first, last + 1)]
    frames = [read_frame(project.root, frame) for frame in frames_to_send(wanted)]
    assert len(frames) == answer["frames"]
    upload_id = answer["upload_id"]
    cut = frames[0] + frames[1][: len(frames[1]) // 2]
    assert (await send(api, upload_id, cut)).json()["received"] == 1
    assert (await api.client.get(f"/uploads/{upload_id}")).json()["received"] == 1
    refused = await send(api, upload_id, frames[0])
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_conflict")
    early = await api.client.post(f"/uploads/{upload_id}/submit", json={})
    assert (early.status_code, early.json()["code"]) == (409, "upload_conflict")
    assert (await send(api, upload_id, b"".join(frames[1:]), frame=1)).json()["received"] == len(frames)
    for _ in range(2):
        done = await api.client.post(f"/uploads/{upload_id}/submit", json={})
        assert (done.status_code, done.json()["job_id"]) == (202, upload_id)
    assert shape_of(workspace(api, upload_id)) == shape_of(tree)


HELLO = sha256(b"hello").hexdigest()
WORLD = sha256(b"world").hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("d 0 - a\n", None),
        ("nonsense\n", "line 1"),
        (f"f 5 {HELLO} a", "breaks off"),
        (f"f 5 {HELLO} ../a\n", "leads out"),
        (f"f 5 {HELLO} /a\n", "absolute"),
        (f"f 5 {HELLO} a//b\n", "normal form"),
        (f"f 5 {HELLO} a/./b\n", "normal form"),
        (f"f 5 {HELLO} C:/a\n", "drive"),
        (f"f 5 {HELLO} a\x1bb\n", "control"),
        (f"f 5 {HELLO} {'a' * 256}\n", "too long"),
        (f"f 5 {HELLO} a\nf 5 {WORLD} a\n", "twice"),
        (f"f 5 {HELLO} a\nf 5 {WORLD} a/b\n", "both as a file and as a folder"),
        (f"l 1 {b'b'.hex()} a\nf 5 {WORLD} a/b\n", "both as a file and as a folder"),
        (f"f 5 {HELLO} a\nf 6 {HELLO} b\n", "two sizes"),
        (f"f 0 {HELLO} a\n", "empty file"),
        (f"f -1 {HELLO} a\n", "line 1"),
        (f"f 5 {HELLO[:-1]} a\n", "line 1"),
        (f"l 4 {b'/etc'.hex()} a\n", "leads out"),
        (f"l 5 {b'../..'.hex()} a\n", "leads out"),
        (f"l 9 {b'../..'.hex()} a\n", "size"),
        (f"l 2 {b'..'.hex()} a/b\nl 6 {b'a/b/..'.hex()} c\n", "leads out"),
        ("- a\n", "does not have"),
    ],
)
async def test_manifests_that_are_refused(api: Api, text: str, message: str | None) -> None:
    answer = await begin(api, text)
    if message is None:
        assert answer.status_code == 201
        return
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_upload")
    assert message in answer.json()["detail"]
    assert api.left_over() == []


async def test_bodies_that_are_no_manifests(api: Api) -> None:
    for body in (b"", b"text", compressed_text("x" * 100)[:-3], b"\x28\xb5\x2f\xfd" + b"\xff" * 30):
        answer = await api.client.post("/uploads", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_upload"), body
    bomb = compressed_text("\n" * 70_000_000)
    assert (await api.client.post("/uploads", content=bomb)).status_code == 400
    assert api.left_over() == []


@pytest.mark.parametrize(
    "frames",
    [
        compressed(b"world"),
        compressed(b"hello!"),
        compressed(b"hell"),
        compressed(b"hello") * 2,
        compressed(b"hello")[:4] + b"x" * (len(compressed(b"hello")) - 4),
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        compressed(b"\0" * 2_000_000),
    ],
)
async def test_frames_that_are_refused(api: Api, frames: bytes) -> None:
    upload_id = (await begin(api, f"f 5 {HELLO} a\n")).json()["upload_id"]
    answer = await send(api, upload_id, frames)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_upload")
    assert api.left_over() == [], "it is gone as a whole"
    assert (await send(api, upload_id, frames)).status_code == 404


async def test_limits(start_api: StartApi) -> None:
    api = await start_api(max_members=3, max_unpacked_bytes=100, max_upload_bytes=300)
    large, many = f"f 101 {HELLO} a\n", "".join(f"f 5 {HELLO} {name}/x\n" for name in "ab")
    for text in (large, many):
        answer = await begin(api, text)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    noise = os.urandom(100)
    upload_id = (await begin(api, f"f 100 {sha256(noise).hexdigest()} a\n")).json()["upload_id"]
    assert (await send(api, upload_id, compressed(noise) * 10)).status_code == 413
    assert api.left_over() == []


async def test_uploads_that_are_not_there(api: Api) -> None:
    for upload_id in ("x", "%2e%2e", "019283e4-0000-7000-8000-000000000000"):
        assert (await api.client.get(f"/uploads/{upload_id}")).status_code == 404
        assert (await send(api, upload_id, b"")).status_code == 404
        assert (await api.client.post(f"/uploads/{upload_id}/submit", json={})).status_code == 404


async def test_two_uploads_at_once(api: Api, tree: Path, tmp_path: Path) -> None:
    (tree / "large").write_bytes(os.urandom(packs.FRAME_BYTES + 17))
    other = shutil.copytree(tree, tmp_path / "other", symlinks=True)
    (other / "more").write_text("more")
    (one, _), (two, _) = await asyncio.gather(submitted(api, tree), submitted(api, other))
    assert shape_of(workspace(api, one)) == shape_of(tree)
    assert shape_of(workspace(api, two)) == shape_of(other)


async def test_a_job_cannot_write_to_what_is_kept(api: Api, tree: Path) -> None:
    job_id, _ = await submitted(api, tree)
    assert all(path.stat().st_nlink == 1 for path in workspace(api, job_id).rglob("*") if path.is_file())


async def test_a_project_that_is_not_recognised_leaves_nothing(api: Api) -> None:
    upload_id = (await begin(api, f"f 5 {HELLO} a\n")).json()["upload_id"]
    await send(api, upload_id, compressed(b"hello"))
    answer = await api.client.post(f"/uploads/{upload_id}/submit", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, "unrecognised_project")
    assert api.left_over() == []


@pytest.fixture
def always_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "LEAST_FILES", 1)


def spare_of(api: Api, job_id: str) -> Path:
    return spare_workspace(api.data.job(job_id))


@pytest.mark.usefixtures("always_spare")
async def test_a_spare_workspace_becomes_the_next_one(api: Api, tree: Path) -> None:
    first, _ = await submitted(api, tree)
    await eventually(spare_of(api, first).exists)
    assert shape_of(spare_of(api, first)) == shape_of(tree)
    inode = (spare_of(api, first) / "src" / "a.py").stat().st_ino
    second, _ = await submitted(api, tree)
    assert shape_of(workspace(api, second)) == shape_of(tree)
    assert (workspace(api, second) / "src" / "a.py").stat().st_ino == inode
    assert not spare_of(api, first).exists()


@pytest.mark.usefixtures("always_spare")
async def test_a_spare_workspace_is_changed_to_the_tree(api: Api, tree: Path) -> None:
    first, _ = await submitted(api, tree)
    await eventually(spare_of(api, first).exists)
    shutil.rmtree(tree / "src" / "deep")
    (tree / "src" / "deep").symlink_to("../empty")
    os.unlink(tree / "link")
    (tree / "link").mkdir()
    (tree / "link" / "inside").write_bytes((tree / "src" / "a.py").read_bytes())
    (tree / "src" / "a.py").unlink()
    (tree / "src" / "run").chmod(0o600)
    (tree / "empty" / "inner" / "no longer").touch()
    (tree / "to-folder").unlink()
    (tree / "to-folder").write_text("a file")
    (tree / "dangling").unlink()
    (tree / "dangling").symlink_to("elsewhere")
    second, _ = await submitted(api, tree)
    assert not spare_of(api, first).exists()
    assert shape_of(workspace(api, second)) == shape_of(tree)


@pytest.mark.usefixtures("always_spare")
async def test_only_so_many_spare_workspaces_are_kept(start_api: StartApi, tree: Path) -> None:
    api = await start_api(spare_workspaces=1)
    first, _ = await submitted(api, tree, project="a")
    await eventually(spare_of(api, first).exists)
    second, _ = await submitted(api, tree, project="b")
    await eventually(spare_of(api, second).exists)
    await eventually(lambda: not spare_of(api, first).exists())
    none = await start_api("none", spare_workspaces=0)
    third, _ = await submitted(none, tree)
    assert shape_of(workspace(none, third)) == shape_of(tree)
    assert [path.name for path in none.data.job(third).iterdir() if path.name.startswith(SPARE)] == []


def quiet(_: str) -> None:
    pass


async def test_a_backup_shares_packs_and_is_restored(api: Api, tree: Path, tmp_path: Path) -> None:
    first, _ = await submitted(api, tree)
    (tree / "more").write_text("more")
    second, _ = await submitted(api, tree)
    manifest = await take_backup(api.settings, tmp_path / "backup", quiet)
    assert (manifest.damaged, manifest.without_upload) == ((), 0)
    copied = [read_tree(Backup(tmp_path / "backup").data.stored_upload(job_id)) for job_id in (first, second)]
    shared = copied[0].packs[0].name
    paths = [Backup(tmp_path / "backup").data.stored_upload(job_id) / shared for job_id in (first, second)]
    assert paths[0].stat().st_ino == paths[1].stat().st_ino
    settings = Settings(db_path=tmp_path / "restored" / "jobs.db")
    await restore_backup(settings, tmp_path / "backup", quiet, keep_queue=True)
    again = DataDirectory(settings.data_path)
    assert shape_of(again.run(second, 1).workspace) == shape_of(tree)
    raw = bytearray(paths[0].read_bytes())
    raw[-1] ^= 1
    paths[0].write_bytes(raw)
    with pytest.raises(BackupFault, match="damaged"):
        await restore_backup(Settings(db_path=tmp_path / "no" / "jobs.db"), tmp_path / "backup", quiet, keep_queue=True)


@pytest.mark.usefixtures("always_spare")
async def test_an_expired_upload_goes_with_its_spare_workspace(api: Api, tree: Path) -> None:
    first, _ = await submitted(api, tree)
    second, _ = await submitted(api, tree)
    await eventually(spare_of(api, second).exists)
    (pack,) = read_tree(api.data.stored_upload(second)).packs
    kept = api.data.stored_upload(first) / pack.name
    assert kept.stat().st_nlink == 2
    ages = Ages(api.settings, api.controller.storage.retention, utc_now)
    assert await ExpiredUploads(ages, api.data, lambda: None).remove([second]) == {}
    assert [path.name for path in api.data.job(second).iterdir()] == ["1"]
    assert kept.stat().st_nlink == 1, "what the other job needs stays"
    await api.controller.start(second)
    await api.controller.finish(second)
    refused = await api.client.post(f"/jobs/{second}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_retryable")


async def test_a_later_attempt_gets_the_same_files(api: Api, tree: Path, tmp_path: Path) -> None:
    job_id, _ = await submitted(api, tree)
    run = RunDirectory(tmp_path / "2")
    await fill_workspace(run, api.data.upload(job_id), UnpackLimits.of(api.settings))
    assert shape_of(run.workspace) == shape_of(tree)
    (pack,) = read_tree(api.data.stored_upload(job_id)).packs
    (api.data.stored_upload(job_id) / pack.name).write_bytes(b"damaged")
    with pytest.raises(StartFault, match="cannot be unpacked again"):
        await fill_workspace(RunDirectory(tmp_path / "3"), api.data.upload(job_id), UnpackLimits.of(api.settings))


async def test_an_upload_of_another_run_of_the_machine_is_not_gone_on_with(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was received may not have reached the disk."""
    upload_id = (await begin(api, f"f 5 {HELLO} a\n")).json()["upload_id"]
    monkeypatch.setattr(manifests, "this_boot", lambda: "another")
    assert (await send(api, upload_id, compressed(b"hello"))).status_code == 404


async def test_two_requests_do_not_write_at_once(api: Api) -> None:
    upload_id = (await begin(api, f"f 5 {HELLO} a\n")).json()["upload_id"]
    lock = os.open(api.data.incoming / upload_id, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    answer = await send(api, upload_id, compressed(b"hello"))
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_conflict")
    os.close(lock)
    assert (await send(api, upload_id, compressed(b"hello"))).status_code == 200


@pytest.mark.parametrize("times", [1, 5])
async def test_a_project_that_changes_while_it_is_sent(
    api: Api, tree: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It is scanned again; one that always changes is refused."""
    left = times

    def changing(root: Path, frame: Any) -> bytes:
        nonlocal left
        if left:
            left -= 1
            (tree / "src" / "a.py").write_text(f"print({left})\n")
        return read_frame(root, frame)

    monkeypatch.setattr(scan, "read_frame", changing)
    if times == 1:
        job_id, _ = await submitted(api, tree)
        assert shape_of(workspace(api, job_id)) == shape_of(tree)
        return
    with pytest.raises(PackingError, match=r"src/a\.py changed while it was sent, again and again"):
        await submitted(api, tree)


async def test_a_large_file_that_changes_while_it_is_sent(
    api: Api, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server notices it, since the client does not compare what it sends in parts."""
    (tree / "large").write_bytes(os.urandom(packs.FRAME_BYTES + 17))
    left = 1

    def changing(root: Path, frame: Any) -> bytes:
        nonlocal left
        if left and frame.parts[0][1]:
            left -= 1
            (tree / "large").write_bytes(os.urandom(packs.FRAME_BYTES + 17))
        return read_frame(root, frame)

    monkeypatch.setattr(scan, "read_frame", changing)
    job_id, _ = await submitted(api, tree)
    assert left == 0
    assert shape_of(workspace(api, job_id)) == shape_of(tree)


async def test_a_disk_that_is_too_full(start_api: StartApi, tree: Path) -> None:
    free = 10**12
    api = await start_api(
        disk=Disk([tree], min_free_bytes=10**9, min_free_percent=5, usage=lambda _: Usage(10**12, free))
    )
    upload_id = (await begin(api, f"f 5 {HELLO} a\n")).json()["upload_id"]
    free = 10
    for answer in (
        await begin(api, f"f 5 {HELLO} a\n"),
        await send(api, upload_id, compressed(b"hello")),
        await api.client.post(f"/uploads/{upload_id}/submit", json={}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "disk_low")
    free = 10**12
    assert (await send(api, upload_id, compressed(b"hello"))).status_code == 200, "it is not lost"


async def test_the_queue_is_full(start_api: StartApi) -> None:
    api = await start_api(max_queued=1)
    await api.submit()
    answer = await begin(api, f"f 5 {HELLO} a\n")
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")


async def test_another_identity_has_no_part_in_an_upload(api: Api, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "large").write_bytes(os.urandom(300_000))
    job_id, _ = await submitted(api, tree)
    upload_id = (await begin(api, f"f 5 {HELLO} a\n")).json()["upload_id"]
    monkeypatch.setattr("ci_server.access.authentication.LOCAL", Identity("another", frozenset(Scope)))
    assert (await send(api, upload_id, compressed(b"hello"))).status_code == 404
    assert (await api.client.post(f"/uploads/{job_id}/submit", json={})).status_code == 404
    assert (await begin(api, "", base=job_id)).status_code == 409
    answer = (await begin(api, scan_directory(tree).entries)).json()
    assert answer["frames"] == 1, "nothing of it is known"
