"""Keeping the artifacts of one attempt: what is kept, what is not, and what a controller that died has left."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.store import Kept, Source, StoreRefused, StoreUnavailable
from ci_common.attempts.parts import JobArtifacts
from ci_common.errors import LeadershipLost
from ci_common.jobs import Conclusion, Job, State, new_job_id
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.spec_parts.artifacts import PlannedArtifacts
from ci_common.times import to_micros
from ci_controller.artifacts import Artifacts, sources

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVERYTHING = PlannedArtifacts(take=("**",))


@dataclass
class Store(DirectoryStore):
    """A directory that can fail, and calls `before` each time it is to keep something."""

    path: Path
    faults: list[Exception] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    kept: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.path)

    async def keep(self, sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        self.before()
        self.kept += [source.key for source in sources]
        if self.faults:
            return [self.faults.pop(0) if number == 0 else StoreUnavailable("down") for number in range(len(sources))]
        return await super().keep(sources, check)

    def contents(self) -> set[str]:
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file()}


class Place:
    """An attempt whose code has ended, and what keeps its artifacts."""

    def __init__(self, directory: Path, *plans: PlannedArtifacts, **settings: Any) -> None:
        self.data = DataDirectory(directory / "data")
        self.data.create()
        plan = ExecutionPlan(
            image="x", steps=(PlannedStep(name="s", shell="x"),), timeout=1.0, artifacts=plans or (EVERYTHING,)
        )
        self.job = Job(
            id=new_job_id(), type="container", submit_time=NOON, state=State.RUNNING, plan=plan.model_dump(mode="json")
        )
        self.run: RunDirectory = self.data.run_of(self.job)
        self.run.workspace.mkdir(parents=True)
        self.run.started.touch()
        self.settings = Settings(**settings)
        self.store = Store(self.data.artifacts)
        self.is_leader = True
        self.now = 0.0
        self.artifacts = self.another_controller()

    def another_controller(self) -> Artifacts:
        return Artifacts(
            self.settings, store=self.store, clock=lambda: NOON, check=self._check, uptime=lambda: self.now
        )

    def _check(self) -> None:
        if not self.is_leader:
            raise LeadershipLost("another one leads")

    def put(self, **files: str) -> None:
        for name, content in files.items():
            (self.run.workspace / name).write_text(content)

    async def collect(self, conclusion: Conclusion = Conclusion.SUCCEEDED) -> JobArtifacts:
        kept = await self.artifacts.collect(self.job, self.run, conclusion)
        assert kept is not None
        return kept


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_controller.artifacts.artifacts._PAUSE_SECONDS", 0.0)


def reasons(kept: JobArtifacts) -> dict[str, str]:
    return {one.path: one.reason for one in kept.left_out}


async def test_keeps_contents_with_their_digests(tmp_path: Path) -> None:
    place = Place(tmp_path, PlannedArtifacts(name="logs", take=("*.log",), retention=60.0), EVERYTHING)
    place.put(**{"a.log": "a log", "b.txt": "text" * 10_000, "empty": ""})
    kept = await place.collect()
    assert [(one.path, one.size, one.name) for one in kept.files] == [
        ("a.log", 5, "logs"),
        ("b.txt", 40_000, None),
        ("empty", 0, None),
    ]
    assert (kept.number, kept.bytes, kept.left_out_number) == (3, 40_005, 0)
    assert kept.files[0].sha256 == hashlib.sha256(b"a log").hexdigest()
    assert kept.files[0].expires == to_micros(NOON + timedelta(seconds=60))
    assert kept.files[1].expires is None
    assert place.store.contents() == {one.key for one in kept.files}


@pytest.mark.parametrize(
    ("conclusion", "names"),
    [
        (Conclusion.SUCCEEDED, ["always", "success"]),
        (Conclusion.FAILED, ["always", "failure"]),
        (Conclusion.TIMED_OUT, ["always", "failure"]),
        (Conclusion.CANCELLED, ["always", "failure"]),
        (Conclusion.ERRORED, ["always", "failure"]),
    ],
)
async def test_keeps_what_is_wanted_after_this_end(tmp_path: Path, conclusion: Conclusion, names: list[str]) -> None:
    place = Place(tmp_path, *(PlannedArtifacts(take=(when,), when=when) for when in ("success", "failure", "always")))
    place.put(success="", failure="", always="")
    assert [one.path for one in (await place.collect(conclusion)).files] == names


async def test_a_job_without_artifacts_keeps_none(tmp_path: Path) -> None:
    place = Place(tmp_path)
    without = replace(place.job, plan={**(place.job.plan or {}), "artifacts": []})
    unreadable = replace(place.job, plan={"version": 99})
    place.run.started.unlink()
    for job in (without, unreadable, place.job):
        assert await place.artifacts.collect(job, place.run, Conclusion.FAILED) is None


async def test_limits_on_bytes_and_files(tmp_path: Path) -> None:
    place = Place(tmp_path, artifacts_max_bytes=100, artifacts_max_files=3)
    place.put(a="x" * 60, b="x" * 60, c="x" * 40, d="x", e="x")
    with open(place.run.workspace / "aa", "wb") as sparse:
        sparse.truncate(2**43)
    kept = await place.collect()
    assert [one.path for one in kept.files] == ["a"]
    assert kept.left_out_number == 5
    assert "8192.0 GiB" in reasons(kept)["aa"]
    assert "CI_ARTIFACTS_MAX_BYTES" in reasons(kept)["b"]
    assert "CI_ARTIFACTS_MAX_FILES" in reasons(kept)["c"]


async def test_files_that_change_or_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the search and the reading, and while they are read."""
    place = Place(tmp_path)
    place.put(gone="x", grown="x", linked="x", fifo="x", whole="x", shrinks="x" * 10, settles="xx", unsettled="x")
    workspace, reads = place.run.workspace, 0

    def change() -> None:
        (workspace / "gone").unlink(missing_ok=True)
        (workspace / "grown").write_text("more than there was")
        for name in ("linked", "fifo"):
            (workspace / name).unlink(missing_ok=True)
        (workspace / "linked").symlink_to("/etc/passwd")
        os.mkfifo(workspace / "fifo")

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal reads
        state = real(descriptor)
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        if name == "unsettled" or (name == "settles" and reads == 0):
            reads += name == "settles"
            (workspace / name).write_text("yy")
        if name == "shrinks" and state.st_size:
            os.truncate(workspace / name, 0)
        return state

    real = os.fstat
    place.store.before = change
    monkeypatch.setattr(sources.os, "fstat", fstat)
    kept = await place.collect()
    monkeypatch.undo()
    assert {one.path: one.sha256 for one in kept.files} == {
        "settles": hashlib.sha256(b"yy").hexdigest(),
        "shrinks": hashlib.sha256(b"").hexdigest(),
        "whole": hashlib.sha256(b"x").hexdigest(),
    }
    assert reasons(kept) == {
        "gone": "it was removed before it was kept",
        "grown": "it has 19 bytes, and has grown since it was found",
        "linked": "it was replaced by a link before it was kept",
        "fifo": "it was replaced by what is not a file while it was being kept",
        "unsettled": "it changed while it was being kept",
    }
    assert place.store.contents() == {one.key for one in kept.files}


@pytest.mark.parametrize("name", ["outer", "outer/inner"])
async def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """Its file has the same size behind the link, so that nothing else is different."""
    place = Place(tmp_path)
    found, secret = place.run.workspace / "outer" / "inner" / "file", tmp_path / "secret" / "inner" / "file"
    for path, content in ((found, "own"), (secret, "not"), (tmp_path / "secret" / "file", "not")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def swap() -> None:
        folder = place.run.workspace / name
        if not folder.is_symlink():
            folder.rename(place.run.workspace / "moved")
            folder.symlink_to(tmp_path / "secret")

    place.store.before = swap
    kept = await place.collect()
    assert kept.files == ()
    assert [*reasons(kept)] == ["outer/inner/file"]
    assert place.store.contents() == set()


async def test_time_that_is_over_ends_it(tmp_path: Path) -> None:
    place = Place(tmp_path, artifacts_timeout=10.0)
    place.put(a="x", b="x")

    def pass_time() -> None:
        place.now = 11.0

    place.store.before = pass_time
    kept = await place.collect()
    assert kept.files == ()
    assert set(reasons(kept).values()) == {"it was not kept within 10 s (CI_ARTIFACTS_TIMEOUT)"}


async def test_a_workspace_that_is_gone_or_a_link(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run.workspace.rmdir()
    assert "removed its workspace" in reasons(await place.collect())["."]
    other = Place(tmp_path / "other")
    other.run.workspace.rmdir()
    other.run.workspace.symlink_to("/etc")
    assert (await other.collect()).files == ()


async def test_a_store_that_is_down_for_a_moment(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put(a="x", b="x")
    place.store.faults = [StoreUnavailable("down"), StoreUnavailable("down")]
    assert [one.path for one in (await place.collect()).files] == ["a", "b"]


@pytest.mark.parametrize("fault", [StoreUnavailable, StoreRefused])
async def test_a_job_ends_without_a_store(
    tmp_path: Path, fault: type[StoreUnavailable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_controller.artifacts.artifacts._BATCH_FILES", 100)
    place = Place(tmp_path)
    place.put(**{f"{number:04}": "x" for number in range(600)})
    place.store.faults = [fault("down")] * 1000

    def pass_time() -> None:
        place.now += 50

    place.store.before = pass_time
    kept = await place.collect()
    assert (kept.files, kept.left_out_number) == ((), 600)
    assert {one.reason for one in kept.left_out} == {
        "the artifact store could not be used; the controller's log says why"
    }
    assert len(place.store.kept) <= 100 * 4, "the rest is not tried"


async def test_collecting_again_returns_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put(a="x")
    first = await place.collect()
    place.put(a="changed", b="new")
    place.artifacts = place.another_controller()
    assert await place.collect(Conclusion.FAILED) == first
    assert place.store.contents() == {one.key for one in first.files}


async def test_what_a_dead_controller_had_kept_is_removed_once_the_end_is_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put(a="x", b="y")

    class Killed(BaseException):
        pass

    real = place.store.keep

    async def keep_and_die(sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        await real(sources, check)
        raise Killed

    place.store.keep = keep_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await place.collect()
    assert len(place.store.contents()) == 2
    place.store.keep = real  # type: ignore[method-assign]
    place.artifacts = place.another_controller()
    kept = await place.collect()
    assert len(place.store.contents()) == 4
    await place.artifacts.tidy(place.job, place.run)
    assert place.store.contents() == {one.key for one in kept.files}
    await place.artifacts.tidy(place.job, place.run)
    assert place.store.contents() == {one.key for one in kept.files}


async def test_one_that_does_not_lead_any_more_keeps_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put(a="x")
    place.is_leader = False
    before = {*place.data.path.rglob("*")}
    with pytest.raises(LeadershipLost):
        await place.collect()
    assert {*place.data.path.rglob("*")} == before


async def test_leaving_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    place.put(**{f"{number:03}": "x" for number in range(100)})
    loop = asyncio.get_running_loop()
    read = 0

    def chunks(source: sources.FileSource) -> Iterator[bytes]:
        nonlocal read
        read += 1
        if read == 3:
            loop.call_soon_threadsafe(task.cancel)
            place_stopped.wait(30)
        return real(source)

    place_stopped = threading.Event()
    real = sources.FileSource.chunks
    monkeypatch.setattr(sources.FileSource, "chunks", chunks)
    task = asyncio.create_task(place.collect())
    loop.call_later(1.0, place_stopped.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert read < 100
