"""Keeps the artifacts of attempts, once their code has ended and before that is written."""

import asyncio
import logging
import posixpath
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from ci_common.artifacts.store import ArtifactStore, Kept, StoreRefused, StoreUnavailable
from ci_common.attempts.parts import Artifact, JobArtifacts
from ci_common.errors import DiskLow
from ci_common.jobs import Conclusion, Job, new_job_id
from ci_common.parsing.text import shown_size
from ci_common.run_directory.layout import RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.spec_parts.artifacts import PlannedArtifacts
from ci_common.system.tasks import in_thread
from ci_common.system.trees import Folder
from ci_common.times import Clock, Uptime, to_micros, uptime
from ci_controller.artifacts.record import Collections, read_record, write_record
from ci_controller.artifacts.selection import Omissions, Selection, select
from ci_controller.artifacts.sources import Changed, FileSource, NotKept
from ci_controller.runtime.protocol import Check

log = logging.getLogger(__name__)

T = TypeVar("T")

_WANTED: Final = {"success": (True,), "failure": (False,), "always": (True, False)}
_BATCH_FILES = 2000
_BATCH_BYTES: Final = 64 * 1024**2
STORE_SECONDS: Final = 120.0
"""How long a store that does not answer is tried again, before the job ends without the rest."""
_PAUSE_SECONDS: Final = 2.0


class _Stopped(Exception):
    """Nothing more is to be done: this process is leaving."""


class _OutOfTime(NotKept):
    """The time for keeping artifacts is over."""


class Artifacts:
    """The artifacts of one installation during one term. A job ends as it would without, whatever fails here."""

    def __init__(
        self, settings: Settings, *, store: ArtifactStore, clock: Clock, check: Check, uptime: Uptime = uptime
    ) -> None:
        """`check` is called before every change to files or to the store, and may forbid it by raising."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._check = check
        self._uptime = uptime

    async def collect(
        self, job: Job, run: RunDirectory, conclusion: Conclusion, masked: Callable[[str], str] = str
    ) -> JobArtifacts | None:
        """Keep the artifacts of an attempt whose code has ended, and return them; None for a job that keeps none.

        `masked` returns a text with secrets masked: a file whose path has one in it is left out. May be repeated: what
        is kept once is returned again. Raises LeadershipLost.
        """
        plans = _plans_of(job)
        if not plans or not run.is_started():
            return None
        collections = await asyncio.to_thread(read_record, run)
        if collections.artifacts is not None:
            return collections.artifacts
        wanted = [plan for plan in plans if (conclusion is Conclusion.SUCCEEDED) in _WANTED[plan.when]]
        if not wanted:
            return JobArtifacts()
        try:
            return await self._collect(job, run, wanted, collections, masked)
        except OSError as exc:
            log.warning("job %s: its artifacts cannot be kept: %s", job.id, exc)
            omissions = Omissions()
            omissions.add(".", f"nothing could be kept: {exc.strerror}")
            return _totals([], omissions)

    async def _collect(
        self,
        job: Job,
        run: RunDirectory,
        plans: list[PlannedArtifacts],
        collections: Collections,
        masked: Callable[[str], str],
    ) -> JobArtifacts:
        identity = new_job_id()
        collections.begun.append(identity)
        self._check()
        await asyncio.to_thread(write_record, run, collections)
        directory = str((job.plan or {}).get("directory", "."))
        names = [name for name in posixpath.normpath(directory).split("/") if name != "."]
        collection = _Collection(
            prefix=f"{job.id}/{job.attempt}/{identity}",
            until=self._uptime() + self._settings.artifacts_timeout,
            uptime=self._uptime,
            most_seconds=self._settings.artifacts_timeout,
            masked=masked,
        )
        try:
            with Folder.opened(run.path) as base, base.folder(run.workspace.name, *names) as root:
                kept = await self._keep_all(root, plans, collection)
        except (FileNotFoundError, NotADirectoryError):
            kept = []
            collection.omissions.add(".", "the job has removed its workspace, or the disk had no room for it")
        end = self._clock()
        artifacts = _totals([self._artifact(job, source, one, end) for source, one in kept], collection.omissions)
        collections.kept, collections.artifacts = identity, artifacts
        self._check()
        await asyncio.to_thread(write_record, run, collections)
        return artifacts

    async def _keep_all(
        self, root: Folder, plans: list[PlannedArtifacts], collection: "_Collection"
    ) -> list[tuple[FileSource, Kept]]:
        selection = await self._select(root, plans, collection)
        kept: list[tuple[FileSource, Kept]] = []
        left = self._settings.artifacts_max_bytes
        changed: list[FileSource] = []
        for batch in _batches(_sources(root, selection, collection)):
            fitting = []
            for source in batch:
                if source.found.size > left:
                    collection.omissions.add(source.found.path, self._too_large(source.found.size, left))
                else:
                    left -= source.found.size
                    fitting.append(source)
            outcomes = await self._keep(fitting, collection)
            for source, outcome in zip(fitting, outcomes, strict=True):
                if isinstance(outcome, Kept):
                    kept.append((source, outcome))
                    continue
                left += source.found.size
                if isinstance(outcome, Changed):
                    changed.append(source)
                else:
                    collection.omissions.add(source.found.path, _why(outcome))
        kept += await self._keep_changed(changed, left, collection)
        kept.sort(key=lambda one: one[0].found.path)
        return kept

    async def _keep_changed(
        self, changed: list[FileSource], left: int, collection: "_Collection"
    ) -> list[tuple[FileSource, Kept]]:
        """Read files that changed while they were being read once more."""
        kept = []
        for source in changed:
            again = FileSource(source.root, source.found, source.key, most_bytes=left, check=collection.check_time)
            (outcome,) = await self._keep([again], collection)
            if isinstance(outcome, Kept):
                left -= again.size
                kept.append((again, outcome))
            else:
                collection.omissions.add(source.found.path, _why(outcome))
        return kept

    async def _select(self, root: Folder, plans: list[PlannedArtifacts], collection: "_Collection") -> Selection:
        most = self._settings.artifacts_max_files
        try:
            selection = await _stoppable(
                in_thread(select, root, plans, most_files=most, check=collection.check), collection.stopped
            )
        except _OutOfTime as exc:
            selection = Selection()
            selection.omissions.add(".", str(exc))
        collection.omissions = selection.omissions
        return _without_secrets(selection, collection.masked)

    async def _keep(self, sources: list[FileSource], collection: "_Collection") -> list[Kept | Exception]:
        """Keep files, and try again where the store does not answer. Raises LeadershipLost."""
        if not sources:
            return []
        outcomes: list[Kept | Exception] = [StoreUnavailable("nothing was tried") for _ in sources]
        since, known = self._uptime(), collection.store_fault
        while True:
            self._check()
            again = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, StoreUnavailable)]
            if known is None:
                sending = [sources[number] for number in again]
                tried = await _stoppable(self._store.keep(sending, collection.check_stopped), collection.stopped)
                for number, outcome in zip(again, tried, strict=True):
                    outcomes[number] = outcome
            faults = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
            if known is None and not faults:
                return outcomes
            is_late = self._uptime() >= min(since + STORE_SECONDS, collection.until)
            if known is not None or is_late or any(isinstance(fault, StoreRefused) for fault in faults):
                collection.store_fault = known or faults[0]
                return [known if known is not None and isinstance(o, StoreUnavailable) else o for o in outcomes]
            log.warning("artifacts wait for their store: %s", faults[0])
            await asyncio.sleep(_PAUSE_SECONDS)

    def _artifact(self, job: Job, source: FileSource, kept: Kept, end: datetime) -> Artifact:
        group = source.found.group
        seconds = self._settings.artifacts_retention.of(job.project) if group.retention is None else group.retention
        return Artifact(
            path=source.found.path,
            size=source.size,
            sha256=source.sha256,
            content_type=source.content_type,
            key=kept.key,
            name=group.name,
            expires=None if seconds is None else to_micros(end + timedelta(seconds=seconds)),
        )

    def _too_large(self, size: int, left: int) -> str:
        most = self._settings.artifacts_max_bytes
        return (
            f"it has {shown_size(size)}; of the {shown_size(most)} that are kept of a job (CI_ARTIFACTS_MAX_BYTES), "
            f"{shown_size(left)} are left"
        )

    async def tidy(self, job: Job, run: RunDirectory) -> None:
        """Remove what collections of an attempt that came to no end have left in the store. May be repeated."""
        collections = await asyncio.to_thread(read_record, run)
        surplus = [identity for identity in collections.begun if identity != collections.kept]
        if not surplus:
            return
        self._check()
        try:
            for identity in surplus:
                await self._store.remove(f"{job.id}/{job.attempt}/{identity}")
        except (OSError, StoreUnavailable) as exc:
            log.warning("job %s: what no row names is removed with the job: %s", job.id, exc)
            return
        collections.begun = [identity for identity in collections.begun if identity == collections.kept]
        await asyncio.to_thread(write_record, run, collections)


@dataclass(slots=True)
class _Collection:
    """One collection that is under way."""

    prefix: str
    until: float
    """The uptime at which nothing more is kept."""
    uptime: Uptime
    most_seconds: float
    masked: Callable[[str], str] = str
    """Returns a path with secrets masked."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set once this process is leaving."""
    omissions: Omissions = field(default_factory=Omissions)
    store_fault: StoreUnavailable | None = None
    """Why nothing more is tried to keep in the store."""

    def check_stopped(self) -> None:
        """Raise if this process is leaving."""
        if self.stopped.is_set():
            raise _Stopped

    def check(self) -> None:
        """Raise if this process is leaving, or if the time is over."""
        self.check_stopped()
        self.check_time()

    def check_time(self) -> None:
        """Raise if the time is over, or this process is leaving."""
        self.check_stopped()
        if self.uptime() >= self.until:
            raise _OutOfTime(f"it was not kept within {self.most_seconds:g} s (CI_ARTIFACTS_TIMEOUT)")


def _plans_of(job: Job) -> tuple[PlannedArtifacts, ...]:
    """Return what is to be kept of a job; nothing of one whose plan cannot be read, which ends, too."""
    try:
        return ExecutionPlan.model_validate(job.plan).artifacts
    except ValidationError:
        return ()


def _without_secrets(selection: Selection, masked: Callable[[str], str]) -> Selection:
    """Return the selection without files whose paths would show a secret."""
    shown = [found for found in selection.files if masked(found.path) == found.path]
    for found in selection.files:
        if (path := masked(found.path)) != found.path:
            selection.omissions.add(path, "its path has a secret in it")
    return replace(selection, files=shown)


def _sources(root: Folder, selection: Selection, collection: _Collection) -> Iterator[FileSource]:
    for number, found in enumerate(selection.files):
        key = f"{collection.prefix}/{number:06}"
        yield FileSource(root, found, key, most_bytes=found.size, check=collection.check_time)


def _batches(sources: Iterator[FileSource]) -> Iterator[list[FileSource]]:
    batch: list[FileSource] = []
    size = 0
    for source in sources:
        batch.append(source)
        size += source.found.size
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _totals(artifacts: list[Artifact], omissions: Omissions) -> JobArtifacts:
    size = sum(artifact.size for artifact in artifacts)
    return JobArtifacts(len(artifacts), size, tuple(artifacts), omissions.number, tuple(omissions.first))


def _why(outcome: Exception) -> str:
    if isinstance(outcome, NotKept):
        return str(outcome)
    if isinstance(outcome, StoreUnavailable):
        return "the artifact store could not be used; the controller's log says why"
    if isinstance(outcome, DiskLow):
        return "the disk is too full to keep it (CI_MIN_FREE_BYTES, CI_MIN_FREE_PERCENT)"
    if isinstance(outcome, OSError):
        return f"it could not be written to the artifact store: {outcome.strerror or outcome}"
    log.error("an artifact could not be kept", exc_info=outcome)
    return "it could not be kept; the controller's log says why"


async def _stoppable(work: Coroutine[Any, Any, T], stopped: threading.Event) -> T:
    """Await work that has threads, which are told to stop where the caller is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stopped.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
