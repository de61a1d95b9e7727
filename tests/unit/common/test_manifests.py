"""Uploads by manifest: a directory, its manifest and packs, and the workspace that is made of them."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_client.packing.archive import pack_directory
from ci_client.packing.frames import frames_to_send, read_frame
from ci_client.packing.scan import scan_directory
from ci_common.archives.unpack import unpack
from ci_common.errors import InvalidUpload
from ci_common.manifests import packs, tasks
from ci_common.manifests.entries import Entry, changes, manifest_text, parsed
from ci_common.manifests.packs import compressed_text
from ci_common.manifests.session import Session
from ci_common.manifests.stored import link_upload, read_tree
from tests.helpers.machine import shape_of
from tests.helpers.untrusted import UnpackLimits

LIMITS = UnpackLimits(bytes=10**9, members=10_000, ratio=10_000)
NAMES = st.sampled_from(["a", "b", "Ä ö", "-x", "a'b\"c", "$(x)", "A", "é", "\U0001f600", "a.py", " ", "a b", "~"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=40)),
    st.tuples(st.just("executable"), st.binary(max_size=40)),
    st.tuples(st.just("file"), st.sampled_from([b"", b"same", b"x" * 3000])),
    st.tuples(st.just("link"), st.sampled_from([b"nowhere", b".", b"\xff"])),
    st.tuples(st.just("folder"), st.none()),
)
TREES = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=8)


class Caller:
    """The process that sends a task, as far as tasks need it."""

    is_again = False

    def advance(self, size: int = 0) -> None:
        pass

    def go_on_to(self, name: str) -> None:
        pass


def made(root: Path, tree: dict[str, Any]) -> Path:
    """Make a tree, as far as its paths do not contradict each other, with one file at least."""
    root.mkdir()
    (root / "always").write_text("here")
    for path, (kind, content) in tree.items():
        place = root / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                place.mkdir(exist_ok=True)
            elif os.path.lexists(place):
                continue
            elif kind == "link":
                os.symlink(content, os.fsencode(place))
            else:
                place.write_bytes(content)
                place.chmod(0o755 if kind == "executable" else 0o640)
        except (FileExistsError, NotADirectoryError, OSError):
            continue
    return root


def upload(root: Path, session: Session, base: Path | None = None, spare: Path | None = None) -> int:
    """Do with a directory what client and server do; return how many frames were sent."""
    session.path.mkdir()
    entries = scan_directory(root).entries
    old = "" if base is None else manifest_text(read_tree(base).entries)
    (session.path / "manifest").write_bytes(compressed_text(changes(old, manifest_text(entries))))
    limits = [LIMITS.bytes, LIMITS.members, LIMITS.ratio, LIMITS.ratio_free_bytes]
    argument = {
        "session": str(session.path),
        "manifest": str(session.path / "manifest"),
        "owner": "local",
        "project": "",
        "base": None if base is None else str(base),
        "sources": [] if base is None else [str(base)],
        "spare": None if spare is None else str(spare),
        "limits": limits,
    }
    caller: Any = Caller()
    answer = tasks.plan_task(argument, caller)
    wanted = [entries[number] for first, last in answer["missing"] for number in range(first, last + 1)]
    frames = frames_to_send(wanted)
    assert len(frames) == answer["frames"]
    plan, sent = session.read(), iter(frames)
    for number, pack in enumerate(plan.packs):
        for _ in packs.frame_sizes(pack.size):
            with session.part(pack).open("ab") as file:
                file.write(read_frame(root, next(sent)))
        tasks.receive_task({"session": str(session.path), "pack": plan.first + number}, caller)
    tasks.complete_task({"session": str(session.path), "limits": limits}, caller)
    session.finish()
    return len(frames)


@settings(max_examples=40, deadline=None)
@given(TREES, TREES, st.sampled_from([64, 4000, packs.FRAME_BYTES]))
def test_a_workspace_is_what_the_directory_is(first: Any, second: Any, frame_bytes: int) -> None:
    """The first upload, a second one that builds on it, with and without a spare workspace, and an archive agree."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "FRAME_BYTES", frame_bytes)
        patch.setenv("XDG_CACHE_HOME", f"{name}/cache")
        place = Path(name)
        one, two = made(place / "one", first), made(place / "two", first | second)
        sessions = [Session(place / f"session{number}") for number in range(4)]
        upload(one, sessions[0])
        assert shape_of(sessions[0].workspace) == shape_of(one)
        spare = place / "spare"
        spare.mkdir()
        caller: Any = Caller()
        tasks.fill_task({"upload": str(sessions[0].upload), "target": str(spare), "is_idle": False}, caller)
        assert shape_of(spare) == shape_of(one)
        upload(two, sessions[1], base=sessions[0].upload)
        upload(two, sessions[2], base=sessions[0].upload, spare=spare)
        assert not spare.exists()
        assert shape_of(sessions[1].workspace) == shape_of(sessions[2].workspace) == shape_of(two)
        assert upload(two, sessions[3], base=sessions[1].upload) == 0
        assert shape_of(sessions[3].workspace) == shape_of(two)
        with pack_directory(two).file as archive:
            (place / "project.zip").write_bytes(archive.read())
        (place / "unpacked").mkdir()
        unpack(place / "project.zip", place / "unpacked", LIMITS)
        assert shape_of(place / "unpacked") == shape_of(two)
        for session in sessions:
            assert read_tree(session.upload).id == read_tree(session.upload).id
            assert all(".part" not in path.name for path in session.upload.iterdir())


ENTRIES = st.dictionaries(
    PATHS, st.tuples(st.sampled_from("fx"), st.integers(1, 10**9), st.integers(0, 5)), max_size=10
).map(
    lambda found: sorted(
        (Entry(path, kind, size, f"{digest:064x}") for path, (kind, size, digest) in found.items()),
        key=lambda entry: entry.path.split("/"),
    )
)


@given(ENTRIES, ENTRIES)
def test_a_change_leads_to_the_other_manifest(before: list[Entry], after: list[Entry]) -> None:
    change = changes(manifest_text(before), manifest_text(after))
    found = parsed(change, {entry.path: entry for entry in before})
    assert found == after
    assert manifest_text(found) == manifest_text(after)
    assert changes(manifest_text(after), manifest_text(after)) == ""


@given(st.lists(st.integers(1, 50), max_size=30))
def test_packs_have_all_files_in_order(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "FRAME_BYTES", 20)
        found = packs.packed(sizes)
        assert [number for pack in found for number in pack] == list(range(len(sizes)))
        for pack in found:
            size = sum(sizes[number] for number in pack)
            assert size <= 20 or len(pack) == 1
            assert sum(packs.frame_sizes(size)) == size


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_are_refused(raw: bytes) -> None:
    try:
        packs.decompressed_text(raw, 1000)
    except InvalidUpload:
        pass


@given(st.text(max_size=200))
def test_any_text_is_a_manifest_or_is_refused(text: str) -> None:
    try:
        parsed(text, {})
    except InvalidUpload:
        pass


def test_a_pack_that_is_hardly_needed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(9000))
    (root / "small").write_bytes(b"x" * 100)
    first, second, third = (Session(tmp_path / f"session{number}") for number in range(3))
    upload(root, first)
    (root / "small").write_bytes(b"y" * 100)
    assert upload(root, second, base=first.upload) == 1
    kept = {pack.name for pack in read_tree(first.upload).packs}
    assert kept < {pack.name for pack in read_tree(second.upload).packs}
    (root / "large").write_bytes(b"z")
    assert upload(root, third, base=second.upload) == 1
    assert not kept & {pack.name for pack in read_tree(third.upload).packs}, "its 9 KB are needed no more"


def test_a_pack_goes_with_its_last_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = made(tmp_path / "project", {})
    first, second = Session(tmp_path / "first"), Session(tmp_path / "second")
    upload(root, first)
    upload(root, second, base=first.upload)
    link_upload(first.upload, tmp_path / "retry")
    (pack,) = read_tree(first.upload).packs
    assert (first.upload / pack.name).stat().st_nlink == 3
    assert (second.upload / pack.name).stat().st_ino == (first.upload / pack.name).stat().st_ino


def test_a_damaged_pack_makes_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = Session(tmp_path / "session")
    upload(made(tmp_path / "project", {}), session)
    (pack,) = read_tree(session.upload).packs
    raw = bytearray((session.upload / pack.name).read_bytes())
    raw[-1] ^= 1
    (session.upload / pack.name).write_bytes(raw)
    (tmp_path / "target").mkdir()
    caller: Any = Caller()
    with pytest.raises(InvalidUpload):
        tasks.fill_task({"upload": str(session.upload), "target": str(tmp_path / "target"), "is_idle": False}, caller)
