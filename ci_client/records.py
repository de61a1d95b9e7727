"""Checks what a server has of a run against the digests in its record, and compares two records."""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from ci_client.errors import ServerError
from ci_client.transport import Connection, checked, job_path, object_answer, translated

_PARTS: Final = {
    "result": ("conclusion", "exit_code", "reason.code"),
    "image": ("image.name", "image.id", "image.digest"),
    "environment": ("environment.key", "environment.hit", "inputs.environment.variables"),
    "plan": ("plan", "runtime", "start_way"),
    "upload": ("upload.sha256", "upload.size"),
    "tests": ("tests",),
    "artifacts": ("inputs.artifacts", "artifact_totals"),
    "outputs": ("outputs",),
    "log": ("log.bytes", "log.sha256"),
}
_USED: Final = ("peak_memory", "cpu_seconds", "read_bytes", "written_bytes", "received_bytes", "sent_bytes")


@dataclass(frozen=True, slots=True)
class Difference:
    """What two runs do not have in common."""

    part: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked."""

    what: str
    ok: bool
    text: str


def canonical(value: Any) -> str:
    """Return JSON in the form that is digested; docs/record.md describes it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical(value).encode(errors="replace")).hexdigest()


def check_document(record: Mapping[str, Any]) -> Iterator[Check]:
    """Check a record and its fingerprint against their digests."""
    run = record["run"]
    found, said = digest(run), record.get("sha256")
    yield Check("record", found == said, f"sha256 {found}" if found == said else f"sha256 {found}, not {said}")
    found, said = digest(run.get("inputs")), run.get("fingerprint")
    yield Check("fingerprint", found == said, found if found == said else f"{found}, not {said}")


async def check_content(what: str, chunks: AsyncIterator[bytes], size: int, sha256: str) -> Check:
    """Check bytes as they come against their length and digest."""
    taken, count = hashlib.sha256(), 0
    async for chunk in chunks:
        taken.update(chunk)
        count += len(chunk)
    if (count, taken.hexdigest()) == (size, sha256):
        return Check(what, ok=True, text=f"{size} bytes, sha256 {sha256}")
    return Check(what, ok=False, text=f"{count} bytes, sha256 {taken.hexdigest()}, not {size} bytes, sha256 {sha256}")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return what the `run` of two records do not have in common, but for times and ids."""
    found: list[Difference] = []
    for part, paths in _PARTS.items():
        for path in paths:
            found += _compared(part, path.rpartition(".")[2], _at(before, path), _at(after, path))
    found += _steps(before, after)
    took = _seconds(before.get("start_time"), before.get("end_time"))
    took_after = _seconds(after.get("start_time"), after.get("end_time"))
    used = [(name, *(_at(run, f"resources.{name}") for run in (before, after))) for name in _USED]
    used.insert(0, ("seconds", took, took_after))
    return found + [Difference("used", name, old, new) for name, old, new in used if old != new]


def _compared(part: str, name: str, before: Any, after: Any) -> Iterator[Difference]:
    """Yield the leaves that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _compared(part, f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield Difference(part, name, before, after)


def _steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    plans = [_at(run, "inputs.steps") or [] for run in (before, after)]
    for number in range(max(map(len, plans))):
        old, new = (plan[number] if number < len(plan) else None for plan in plans)
        name = str((new or old or {}).get("name", number + 1))
        if old is None or new is None:
            yield Difference("steps", name, None if old is None else "there", None if new is None else "there")
        else:
            yield from _compared("steps", name, old, new)
    ended = [{step["name"]: step for step in run.get("steps") or []} for run in (before, after)]
    for name in [*ended[0], *(name for name in ended[1] if name not in ended[0])]:
        old, new = ({**step.get(name, {})} for step in ended)
        for field in ("status", "exit_code", "reason"):
            yield from _compared("steps", f"{name}.{field}", old.get(field), new.get(field))
        took = [_seconds(step.get("start_time"), step.get("end_time")) for step in (old, new)]
        yield from _compared("steps", f"{name}.seconds", *took)


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _seconds(start: str | None, end: str | None) -> float | None:
    from datetime import datetime

    if not start or not end:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)


def changed_files(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Return the files in which two uploads differ, each with `+`, `-` or `~`; None where a list is missing."""
    if before.get("files") is None or after.get("files") is None:
        return None
    old, new = ({file["path"]: file["sha256"] for file in record["files"]} for record in (before, after))
    found = [("-", path) for path in old if path not in new]
    found += [("+", path) for path in new if path not in old]
    found += [("~", path) for path in new if path in old and old[path] != new[path]]
    return sorted(found, key=lambda each: each[1])


def not_the_same(record: Mapping[str, Any], environments: Callable[[], set[str]]) -> Iterator[str]:
    """Yield what a rerun of a run cannot repeat exactly, as sentences. `environments` are the keys that still exist."""
    run = record["run"]
    image, environment = run.get("image"), run.get("environment")
    if run.get("runtime") == "process":
        yield "it ran as a process, so it depends on what is installed on the machine"
    elif image is not None and image.get("digest") is None:
        yield f"no registry has the image {image['name']} by a digest, so whatever has that name now is used"
    if environment is not None and environment["key"] not in environments():
        yield f"the prepared environment {environment['key'][:12]} is gone, so the setup runs again"
    if run.get("plan") and run["plan"].get("network", True):
        yield "it has a network, and what it gets from there may have changed"


class Verifier:
    """Checks one attempt on a server against its record."""

    def __init__(self, connection: Connection, job_id: str, run: Mapping[str, Any]) -> None:
        self._connection = connection
        self._job_id = job_id
        self._run = run
        self._params = {"attempt": str(run["attempt"])}

    async def checks(self) -> AsyncGenerator[Check, None]:
        """Yield the checks of the log and of each artifact. Raises ConnectionBroken, ServerError."""
        log = self._run["log"]
        yield await self._check("log", job_path(self._job_id, "log"), log["bytes"], log["sha256"])
        response = await self._connection.ask("GET", job_path(self._job_id, "artifacts"), params=self._params)
        artifacts = object_answer(response).get("artifacts") or []
        found = digest(sorted([artifact["path"], artifact["sha256"]] for artifact in artifacts)) if artifacts else None
        said = (self._run.get("inputs") or {}).get("artifacts")
        if found is not None or said is not None:
            yield Check("list of artifacts", found == said, f"{len(artifacts)}, digest {found}, in the record {said}")
        for artifact in artifacts:
            what = f"artifact {artifact['path']}"
            if artifact.get("removed"):
                yield Check(what, ok=True, text="not kept any longer, so only its digest is there")
                continue
            parts = (quote(part, safe="") for part in artifact["path"].split("/"))
            path = job_path(self._job_id, "artifacts", *parts)
            yield await self._check(what, path, artifact["size"], artifact["sha256"])

    async def _check(self, what: str, path: str, size: int, sha256: str) -> Check:
        headers = {"Accept-Encoding": "identity"}
        try:
            with translated(self._connection.server_url):
                async with self._connection.http.stream("GET", path, params=self._params, headers=headers) as response:
                    if response.status_code != httpx.codes.FOUND:
                        return await check_content(what, (await checked(response)).aiter_bytes(), size, sha256)
                    link = response.headers["Location"]
                async with httpx.AsyncClient() as elsewhere, elsewhere.stream("GET", link) as response:
                    return await check_content(what, (await checked(response)).aiter_bytes(), size, sha256)
        except ServerError as exc:
            return Check(what, ok=False, text=str(exc))
