"""Has the reports of an attempt read and stored, before its end is written."""

import asyncio
import hashlib
import logging
import os
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ci_common.attempts.columns import LETTERS, CaseColumns, of_part
from ci_common.attempts.testing import CaseStatus, CaseSummary
from ci_common.errors import InvalidUpload, NoRoom, RequestError, Unavailable
from ci_common.jobs import Job
from ci_common.manifests.stored import read_head, sha256_of
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.sandbox.channel import ReadingLimits, Task
from ci_common.sandbox.pool import Pace, Readers
from ci_common.sandbox.process import ReaderLost
from ci_common.secrets.masks import Maskable, everywhere
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_controller.environments.keys import scope_of
from ci_controller.job_writer import JobWriter
from ci_controller.reports.tasks import MODULE
from ci_persistence.stores.reports import Comparison

log = logging.getLogger(__name__)

MOST_LOST = 20
_TEXTS = ("names", "groups", "texts")
"""What of a part a job has written."""
_LONG = 10 * 365 * 86_400.0
_PACE = Pace(unasked=_LONG, slow=5.0)
"""No reader is started before there is a report. One gives way late, since the end of its job waits for it."""


class Reports:
    """Reads and stores the reports of attempts, for one controller that leads."""

    def __init__(self, settings: Settings, *, data: DataDirectory, writer: JobWriter) -> None:
        self._limits = ReadingLimits.of(settings)
        self._data = data
        self._writer = writer
        self._readers: Readers | None = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """End what reads reports. May be called twice."""
        self._readers = None
        await self._stack.aclose()

    async def collect(
        self, job: Job, run: RunDirectory, base: Path, masks: Maskable | None = None
    ) -> CaseSummary | None:
        """Have the reports of an attempt stored, and return what its tests came to; None if it has no test report.

        `base` is the run directory as the job saw it. In texts, what `masks` masks is masked. What is wrong with a
        report is stored with it and keeps no job from its end. May be repeated: what was stored for the attempt before
        is replaced. Raises LeadershipLost, Unavailable.
        """
        places = await asyncio.to_thread(_places, job, run)
        if not places:
            return None
        try:
            return await _Collection(self, job, run, base, places, masks).collect()
        except NoRoom as exc:
            log.error("job %s: %s; its reports are not kept", job.id, exc)
            return None

    async def readers(self) -> Readers:
        """Return what reads reports."""
        async with self._opening:
            if self._readers is None:
                self._readers = await self._stack.enter_async_context(Readers(MODULE, self._limits, pace=_PACE))
            return self._readers


Place = tuple[list[str], str, str]


def _places(job: Job, run: RunDirectory) -> list[Place]:
    """Return where the reports of an attempt may be: names that lead to a directory, a pattern, and their kind."""
    if job.start_time is None:
        return []
    places: list[Place] = []
    try:
        plan = ExecutionPlan.model_validate(job.plan)
    except ValidationError:
        return []
    if plan.reports is not None:
        names = ["workspace", *(part for part in plan.directory.split("/") if part not in ("", "."))]
        places += [(names, pattern, "junit") for pattern in plan.reports.junit]
        places += [(names, pattern, "coverage") for pattern in plan.reports.coverage]
    try:
        descriptor = os.open(run.reports, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return places
    try:
        with os.scandir(descriptor) as entries:
            if next(entries, None) is not None:
                places.append(([run.reports.name], "**", "any"))
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return places


class _Collection:
    """The reports of one attempt on their way."""

    def __init__(
        self,
        reports: Reports,
        job: Job,
        run: RunDirectory,
        base: Path,
        places: list[Place],
        masks: Maskable | None,
    ) -> None:
        self._reports = reports
        self._store = reports._writer.storage.reports
        self._lease = reports._writer.lease
        self._data = reports._data
        self._job, self._run, self._places = job, run, places
        self._masks = None if masks is None or masks.masks_nothing else masks
        directory = (job.plan or {}).get("directory", ".")
        tops = [os.path.normpath(top / "workspace" / directory) for top in (base, run.path)]
        self._prefixes = sorted(dict.fromkeys(tops), key=len, reverse=True)
        # Without a project there is nothing to compare with but the job itself.
        self._scope = scope_of(job) if job.project else job.id
        self._content: str | None = None
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._position = 0
        self._comparison: asyncio.Task[Comparison] | None = None
        self._storing: asyncio.Task[None] | None = None

    async def collect(self) -> CaseSummary | None:
        self._comparison = asyncio.create_task(self._compared_with(), name="earlier results of tests")
        try:
            found = await self._read()
            if self._position == 0:
                if not found["files"] and not found["problems"]:
                    return None
                await self._begin()
        finally:
            await _ended(self._comparison, self._storing)
        if found["coverage"]:
            found["coverage"] |= await self._coverage_before(found["coverage"])
        await self._store.finish(self._job.id, self._job.attempt, found, self._lease)
        if not any(file["kind"] == "junit" for file in found["files"]):
            return None
        counts = self._counts
        return CaseSummary(
            total=self._position,
            passed=counts[CaseStatus.PASSED],
            failed=counts[CaseStatus.FAILED],
            skipped=counts[CaseStatus.SKIPPED],
            errors=counts[CaseStatus.ERROR],
            flaky=counts["flaky"],
            seconds=round(self._seconds, 3),
        )

    async def _compared_with(self) -> Comparison:
        job = self._job
        self._content = await asyncio.to_thread(content_of, job, self._data)
        return await self._store.comparison(job.id, job.attempt, scope=self._scope, content=self._content)

    async def _read(self) -> dict[str, Any]:
        readers = await self._reports.readers()
        argument = {
            "root": str(self._run.path),
            "places": self._places,
            "prefixes": self._prefixes,
            "scope": self._scope,
        }
        try:
            task = Task("read_reports", argument, Path(self._prefixes[-1]))
            result: dict[str, Any] = await readers.do(task, on_part=self._take_part)
            await self._stored()
            if self._masks is not None:
                result = await asyncio.to_thread(everywhere, self._masks, result)
        except Unavailable:
            raise
        except (RequestError, ReaderLost, OSError) as exc:
            log.warning("job %s: its reports cannot be read whole: %s", self._job.id, exc)
            with suppress(ReaderLost):
                await self._stored()
            said = str(exc).removeprefix("the upload ")
            return {"files": [], "problems": [f"the reports cannot be read whole: {said}"], "coverage": None}
        return result

    async def _begin(self) -> None:
        assert self._comparison is not None, "it is begun before the reader"
        await self._comparison
        self._counts.clear()
        self._position, self._seconds = 0, 0.0
        job = self._job
        await self._store.begin(job.id, job.attempt, scope=self._scope, content=self._content, lease=self._lease)

    async def _take_part(self, part: Any) -> None:
        """Have tests compared and written, while the reader goes on with those that follow."""
        await self._stored()
        self._storing = asyncio.create_task(self._store_part(part), name="results of tests")

    async def _store_part(self, part: Any) -> None:
        assert self._comparison is not None, "it is begun before the reader"
        comparison = await self._comparison
        try:
            if part["number"] == 0:  # Also where another reader takes over.
                await self._begin()
            if self._masks is not None:
                part |= await asyncio.to_thread(everywhere, self._masks, {name: part[name] for name in _TEXTS})
            columns = await asyncio.to_thread(of_part, part, self._position)
        except (KeyError, TypeError, ValueError) as exc:
            raise ReaderLost(f"it handed over what are no tests: {exc}") from exc
        await self._store.look_further(comparison, columns.keys)
        await asyncio.to_thread(comparison.known.compare, columns)
        await self._store.add(self._job.id, self._job.attempt, columns, self._lease)
        self._count(columns)

    async def _stored(self) -> None:
        """Wait for the tests that are being stored. Raises what that raises."""
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    def _count(self, columns: CaseColumns) -> None:
        self._position += len(columns)
        for status, letter in LETTERS.items():
            self._counts[status] += columns.statuses.count(letter)
        self._counts["flaky"] += columns.flaky.count("1")
        self._seconds += sum(filter(None, columns.seconds))

    async def _coverage_before(self, coverage: dict[str, Any]) -> dict[str, Any]:
        last = await self._store.last_coverage(self._scope, self._job.id)
        return {"before": None} if last is None else {"before": compared(coverage, *last)}


async def _ended(*tasks: "asyncio.Task[Any] | None") -> None:
    """End these tasks. What they raise is of no use any more."""
    left = [task for task in tasks if task is not None]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def compared(coverage: dict[str, Any], job_id: str, reports: dict[str, Any]) -> dict[str, Any]:
    """Return the coverage of an earlier job, and the files that have lost most of it since, as JSON."""
    earlier = reports["coverage"]
    known = {file["path"]: percent(file) for file in earlier["files"]}
    lost = [
        {"path": file["path"], "percent": percent(file), "percent_before": known[file["path"]]}
        for file in coverage["files"]
        if file["path"] in known and percent(file) < known[file["path"]]
    ]
    lost.sort(key=lambda file: (file["percent"] - file["percent_before"], file["path"]))
    return {"job_id": job_id, "percent": percent(earlier), "lost": lost[:MOST_LOST]}


def percent(figures: dict[str, Any]) -> float:
    """Return the share of lines that are covered."""
    return round(100 * figures["covered"] / figures["lines"], 2) if figures["lines"] else 100.0


def content_of(job: Job, data: DataDirectory) -> str | None:
    """Return a digest of what the job ran on, upload and image; None where that is not known. Blocks."""
    if not job.has_upload:
        return None
    try:
        upload = read_head(data.stored_upload(job.id)).tree_id
    except FileNotFoundError:
        try:
            upload = sha256_of(data.upload(job.id))
        except OSError:
            return None
    except (InvalidUpload, OSError):
        return None
    return hashlib.sha256(f"{upload} {job.image}".encode()).hexdigest()[:32]
