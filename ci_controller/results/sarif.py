"""Annotations from reports in SARIF, which analysers write: read in a process with limits, as uploads are."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ci_common.attempts.outcomes import MOST_ANNOTATIONS, Annotation, Level
from ci_common.errors import RequestError, Unavailable
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.sandbox.channel import ReadingLimits, Task
from ci_common.sandbox.child import Caller, TaskFunction
from ci_common.sandbox.pool import Pace, Readers
from ci_common.sandbox.process import ReaderLost
from ci_common.settings import Settings
from ci_controller.reports.files import Search, TooMuch

MOST_FILE_BYTES: Final = 16 * 1024**2
MOST_BYTES: Final = 64 * 1024**2
MOST_PROBLEMS: Final = 10
_PACE = Pace(unasked=10 * 365 * 86_400.0)
"""No reader is started before there is a report."""
_LEVELS: dict[str, Level | None] = {"error": "error", "warning": "warning", "note": "notice", "none": None}

log = logging.getLogger(__name__)


class SarifReports:
    """Reads the SARIF reports of attempts, for one controller that leads."""

    def __init__(self, settings: Settings) -> None:
        self._limits = ReadingLimits.of(settings)
        self._stack = AsyncExitStack()
        self._readers: Readers | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """End what reads reports. May be called twice."""
        self._readers = None
        await self._stack.aclose()

    async def collect(self, job: Job, run: RunDirectory, roots: tuple[str, ...]) -> tuple[Annotation, ...]:
        """Return what the reports say that the job's spec names; paths below `roots` become relative.

        What is wrong with a report is an annotation, too, and keeps no job from its end. Raises Unavailable.
        """
        plan = job.plan or {}
        patterns = (plan.get("reports") or {}).get("sarif") or ()
        if not patterns or job.start_time is None:
            return ()
        names = [run.workspace.name, *(part for part in plan.get("directory", ".").split("/") if part not in ("", "."))]
        argument = {"root": str(run.path), "names": names, "patterns": list(patterns), "roots": list(roots)}
        try:
            readers = await self._opened()
            found = await readers.do(Task("read_sarif", argument, run.path))
        except Unavailable:
            raise
        except (RequestError, ReaderLost, OSError) as exc:
            log.warning("job %s: its SARIF reports cannot be read: %s", job.id, exc)
            said = str(exc).removeprefix("the upload ")
            return (Annotation.bounded("warning", f"the SARIF reports cannot be read: {said}", "ci"),)
        return tuple(Annotation.stored(each) for each in found)

    async def _opened(self) -> Readers:
        async with self._opening:
            if self._readers is None:
                self._readers = await self._stack.enter_async_context(Readers(__name__, self._limits, pace=_PACE))
            return self._readers


def read_sarif_task(argument: dict[str, Any], caller: Caller) -> list[dict[str, Any]]:
    """Return the annotations in the files that match, errors first, and remarks on files that cannot be read."""
    root = Path(argument["root"])
    caller.only_read(root)
    search, total = Search(caller.advance), 0
    errors: list[Annotation] = []
    others: list[Annotation] = []
    problems: list[str] = []
    for pattern in argument["patterns"]:
        found = 0
        try:
            for path, descriptor in search.find(root, argument["names"], pattern):
                found += 1
                with open(descriptor, "rb") as file:
                    size = os.fstat(descriptor).st_size
                    total += size
                    caller.go_on_to(path)
                    if size > MOST_FILE_BYTES or total > MOST_BYTES:
                        problems.append(f"{path} is not read: it has {size} bytes, and {total} with those before it")
                        continue
                    try:
                        for annotation in annotations_of(file.read(MOST_FILE_BYTES), tuple(argument["roots"])):
                            (errors if annotation.level == "error" else others).append(annotation)
                    except ValueError as exc:
                        problems.append(f"{path} is no SARIF: {exc}")
        except TooMuch as exc:
            problems.append(f"{pattern}: {exc}; what comes after is left out")
        if not found:
            problems.append(f"{pattern}: no file matches")
    kept = [*errors, *others][:MOST_ANNOTATIONS]
    if (lost := len(errors) + len(others) - len(kept)) > 0:
        problems.insert(0, f"the SARIF reports have {lost} more findings; {len(kept)} are kept")
    kept += [Annotation.bounded("warning", problem, "ci") for problem in problems[:MOST_PROBLEMS]]
    return [asdict(annotation) for annotation in kept]


TASKS: dict[str, TaskFunction] = {"read_sarif": read_sarif_task}


def annotations_of(raw: bytes, roots: tuple[str, ...] = ()) -> Iterator[Annotation]:
    """Yield the findings of a SARIF document. Raises ValueError if it is none."""
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"it is not JSON: {str(exc)[:200]}") from None
    runs = document.get("runs") if isinstance(document, dict) else None
    if not isinstance(runs, list):
        raise ValueError("it has no list `runs`")
    for run in runs:
        yield from _of_run(_object(run), roots)


def _of_run(run: dict[str, Any], roots: tuple[str, ...]) -> Iterator[Annotation]:
    driver = _object(_object(run.get("tool")).get("driver"))
    rules = [_object(rule) for rule in _list(driver.get("rules"))]
    by_id = {rule.get("id"): rule for rule in rules if isinstance(rule.get("id"), str)}
    for result in map(_object, _list(run.get("results"))):
        index = result.get("ruleIndex")
        name = result.get("ruleId") or _object(result.get("rule")).get("id")
        by_index = rules[index] if isinstance(index, int) and 0 <= index < len(rules) else {}
        rule = by_id.get(name) if isinstance(name, str) else None
        annotation = _finding(result, rule or by_index, _text(driver.get("name")), roots)
        if annotation is not None:
            yield annotation


def _finding(
    result: dict[str, Any], rule: dict[str, Any], tool: str | None, roots: tuple[str, ...]
) -> Annotation | None:
    is_open = result.get("kind", "fail") == "fail" and result.get("baselineState") != "absent"
    if not is_open or _list(result.get("suppressions")):
        return None
    usual = _object(rule.get("defaultConfiguration")).get("level", "warning")
    level = _LEVELS.get(str(result.get("level", usual)), "warning")
    if level is None:
        return None
    place = _object(_object(next(iter(_list(result.get("locations"))), None)).get("physicalLocation"))
    region = _object(place.get("region"))
    uri = _text(_object(place.get("artifactLocation")).get("uri"))
    message = _object(result.get("message"))
    strings = _object(_object(rule.get("messageStrings")).get(str(message.get("id"))))
    said = (
        _text(message.get("text"))
        or _text(strings.get("text"))
        or _text(_object(rule.get("shortDescription")).get("text"))
    )
    name = result.get("ruleId") or rule.get("id")
    return Annotation.bounded(
        level,
        _clean(said or "no message"),
        "sarif",
        tool=_clean(tool or ""),
        title=_clean(_text(name) or ""),
        file=None if uri is None else _clean(_path(uri, roots)),
        line=region.get("startLine"),
        column=region.get("startColumn"),
        end_line=region.get("endLine"),
    )


def _path(uri: str, roots: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    path = unquote(parts.path) if parts.scheme in ("", "file") else uri
    for root in roots:
        if path.startswith(f"{root.rstrip('/')}/"):
            return path[len(root.rstrip("/")) + 1 :]
    return path.removeprefix("./")


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text[:2000])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
