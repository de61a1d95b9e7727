"""Collects what an attempt said about itself, once nothing writes to its files any more."""

import logging
import posixpath
from pathlib import Path

from ci_common.attempts.outcomes import MOST_ANNOTATIONS, MOST_SUMMARY_BYTES, Annotation, Results
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_controller.results.log import MOST_BYTES, MOST_SECONDS, read_log
from ci_controller.results.said import clean, read_outputs, read_summary, remarks

log = logging.getLogger(__name__)


def collect_results(
    job: Job, run: RunDirectory, *, log_bytes: int, base: Path, reported: tuple[Annotation, ...] = ()
) -> Results:
    """Return what the attempt said in its files and in the first `log_bytes` bytes of its log.

    `base` is the run directory as the job sees it, `reported` what its reports add. Blocks for at most a few seconds.
    """
    outputs, problems = read_outputs(run.outputs)
    summary, cut = read_summary(run.summary)
    found = read_log(run.log, log_bytes, roots_of(job, run, base))
    problems += cut
    lines = "\n".join(found.summary)
    text = f"{summary.rstrip(chr(10))}\n{lines}" if summary and lines else summary or lines
    if len(text.encode(errors="replace")) > MOST_SUMMARY_BYTES:
        text = clean(text.encode(errors="replace")[:MOST_SUMMARY_BYTES])
    if found.is_cut:
        problems.append(
            f"not all of the log was searched for annotations: {MOST_BYTES} bytes are at most, for {MOST_SECONDS:g} s"
        )
    annotations = [*reported, *found.annotations()]
    lost = found.lost + max(0, len(annotations) - MOST_ANNOTATIONS)
    if lost:
        problems.append(f"{lost} more annotations were found; {MOST_ANNOTATIONS} are kept")
    errors_first = sorted(annotations, key=lambda annotation: annotation.level != "error")[:MOST_ANNOTATIONS]
    chosen = set(errors_first)
    kept = [annotation for annotation in annotations if annotation in chosen]
    return Results(text or None, (*kept, *remarks(problems)), outputs)


def roots_of(job: Job, run: RunDirectory, base: Path) -> tuple[str, ...]:
    """Return the paths under which the job and its tools may have named the project."""
    directory = str((job.plan or {}).get("directory", "."))
    seen = {posixpath.normpath(f"{place}/{run.workspace.name}/{directory}") for place in (base, run.path)}
    return tuple(sorted(seen))
