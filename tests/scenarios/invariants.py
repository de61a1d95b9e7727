"""What holds after any fault, for any job."""

import hashlib
from dataclasses import dataclass, replace

from ci_common.attempts.outcomes import Annotation
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import KEPT
from ci_common.times import Milestone
from ci_common.wire.results.record import sealed, step_lines
from ci_controller.runtime.protocol import WAITING, Runtime, WorkloadKey
from ci_persistence.storage import Storage
from tests.helpers.installation import Installation, completed
from tests.helpers.waiting import eventually


@dataclass(frozen=True)
class Ending:
    """One way in which a job may truly end."""

    conclusion: Conclusion
    exit_code: int | None
    log: bytes
    """All of it. A job's code that ran twice would have written twice."""


async def check_invariants(
    installation: Installation, storage: Storage, runtime: Runtime, job_id: str, *endings: Ending
) -> Job:
    """Wait for the job's end and return it: its result is true, its log whole, its code ran once, nothing is left."""
    job = await completed(storage, job_id)
    log = installation.log_of(job) if installation.has_log(job) else b""
    assert Ending(job.conclusion or Conclusion.ERRORED, job.exit_code, log) in endings, f"{job}, {log!r}"
    assert (job.log_bytes, job.log_sha256) == (len(log), hashlib.sha256(log).hexdigest()), "the log is whole"
    await eventually(lambda: installation.files_left(job) <= KEPT, "nothing but its log and its records is left")

    await check_record(installation, storage, job)
    told = (Annotation("error", "found", "job", file="a.py", log_offset=0),) if log.startswith(b"::error") else ()
    assert job.results.annotations == told, "what its log says is collected once, as a whole"
    assert job.results.outputs == ({"answer": "42"} if told else {}), "so is what it hands on"

    def is_left(key: WorkloadKey) -> bool:
        return key.attempt != WAITING or not installation.data.waiting_run(key.job_id).path.is_dir()

    async def nothing_listed() -> bool:
        return not any(is_left(each.key) for each in await runtime.list_workloads())

    await eventually(nothing_listed, "no workload is left")
    assert await storage.queue.active() == [], "no slot is taken"
    assert but_for_its_path(await storage.jobs.get(job_id)) == but_for_its_path(job), "a result stays as it is"
    assert job.state is State.COMPLETED
    return job


async def check_record(installation: Installation, storage: Storage, job: Job) -> None:
    """Check that the record of an attempt is what its row says, whole, and the same beside the log."""
    record = await storage.records.get(job.id, job.attempt)
    assert record is not None, "an attempt that has ended has a record"
    assert (record.document, record.sha256) == sealed(job), "the record is of what the row says"
    assert hashlib.sha256(record.document.encode()).hexdigest() == record.sha256
    run = installation.data.run_of(job)
    if run.record.exists():
        assert run.record.read_text() == record.document
        assert run.steps.read_text() == step_lines(job)


async def is_cleared(storage: Storage, job_id: str) -> bool:
    """Tell whether it is noted that all of a job has gone, which is the last that is written of it."""
    return Milestone.CLEARED in (await storage.jobs.get(job_id)).trace


def but_for_its_path(job: Job) -> Job:
    """Return a completed job without what is still written of it: the stations behind its end."""
    return replace(job, trace={}, version=0)


async def is_over(installation: Installation, storage: Storage, job_id: str, *endings: Ending) -> Job:
    """The same, seen by a process that does not lead."""
    async with installation.runtime_of_its_own() as runtime:
        return await check_invariants(installation, storage, runtime, job_id, *endings)
