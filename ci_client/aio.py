"""The asynchronous client. `ci_client.client` offers the same to programs without an event loop."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from ci_client.access.addresses import DEFAULT_URL, configured_url
from ci_client.administration import Administration
from ci_client.errors import AnswerNotUnderstood
from ci_client.records import Check, Verifier
from ci_client.stream import BreakNotice, JobStream, Lines
from ci_client.submitting.submission import BusyNotice, UploadProgress
from ci_client.submitting.submitter import Submittable, Submitter
from ci_client.transport import (
    Connection,
    checked,
    job_answer,
    job_path,
    jobs_answer,
    object_answer,
    translated,
)
from ci_common.wire.stream import BEGINNING, JOB_ID, Cursor, Event

if TYPE_CHECKING:
    from ci_client.downloading.download import DownloadProgress, Saved

_PAGE = 100
_TESTS_PAGE = 500


class CiClient(Administration):
    """A client of one server. An asynchronous context manager; works with asyncio and trio.

    `server_url` is `http://…`, `https://…` or `unix:///path/to.sock`; by default CI_SERVER_URL, else
    http://localhost:8000. `key` is sent with every request; by default it is CI_TOKEN, else the one that `ci login` has
    kept for this server. A stream that breaks is resumed for up to `reconnect_seconds`. A connection that brings
    nothing for `idle_seconds`, not even the comment that servers send every 15 s, is broken. `on_break` is called
    when the first attempt to resume a stream has failed. A submission that a busy server refuses is sent again after
    the pause that the server asks for, for up to `busy_seconds`; `on_busy` is called each time. `has_answered` says
    that the server is known to be there, so that a stream is patient with it from the beginning.

    Every method may raise ServerUnreachable, ConnectionBroken, ServerError and AnswerNotUnderstood.
    """

    def __init__(
        self,
        server_url: str | None = None,
        *,
        reconnect_seconds: float = 300.0,
        idle_seconds: float = 60.0,
        busy_seconds: float = 120.0,
        on_break: BreakNotice | None = None,
        on_busy: BusyNotice | None = None,
        key: str | None = None,
        has_answered: bool = False,
    ) -> None:
        self.server_url = server_url or configured_url() or DEFAULT_URL
        self._reconnect_seconds = reconnect_seconds
        self._on_break = on_break
        self._connection = Connection(self.server_url, idle_seconds=idle_seconds, key=key)
        self._connection.has_answered = has_answered
        self._submitter = Submitter(
            self._connection, resume_seconds=reconnect_seconds, busy_seconds=busy_seconds, on_busy=on_busy
        )

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def submit(
        self,
        project: Submittable,
        *,
        spec: Mapping[str, Any] | None = None,
        progress: UploadProgress | None = None,
    ) -> str:
        """Submit a project and return the job's id.

        `project` is a directory, a zip file, an archive from `ci_client.packing.archive`, or a directory that
        `ci_client.packing.scan` has scanned; `spec` has the fields of `ci_common.spec.Spec`. Of a directory, only what
        the server lacks is sent. Raises PackingError, and SubmissionUncertain if the connection broke before the
        server sent the job's id.
        """
        return await self._submitter.submit(project, spec, progress)

    async def create_job(self, request: Mapping[str, Any]) -> str:
        """Submit a job without an upload, by `POST /jobs`, and return its id. Raises SubmissionUncertain."""
        return await self._submitter.create("/jobs", json=dict(request))

    async def submit_and_stream(
        self,
        project: Submittable,
        *,
        spec: Mapping[str, Any] | None = None,
        progress: UploadProgress | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Submit a project and yield its events, from `job_id` to `complete`. The job goes on if closed early.

        Raises what `submit` and `stream` do.
        """
        job_id, lines = await self._submitter.submit_and_open(project, spec, progress)
        async with AsyncExitStack() as streams:
            if lines is not None:
                await streams.enter_async_context(aclosing(lines))
            yield {"type": JOB_ID, "job_id": job_id}
            events = await streams.enter_async_context(aclosing(self._events(job_id, BEGINNING, opened=lines)))
            async for event in events:
                if event["type"] != JOB_ID:
                    yield event

    async def stream(
        self, job_id: str, *, from_beginning: bool = True, last_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield a job's events up to and including `complete`, also over broken connections.

        With `last_id`, the `id` of an earlier event, the stream resumes after that event; with `from_beginning` false,
        at the present end of the log. `log` events get an `offset`; `log` and `attempt` events get an `id`. The log of
        an attempt that is received from its first byte is checked against `log_sha256`. Raises ValueError for an
        invalid `last_id`, StreamLost, LogMismatch.
        """
        start = BEGINNING if last_id is None else Cursor.parse(last_id)
        if last_id is None and not from_beginning:
            job = await self.get_job(job_id)
            start = Cursor(job.get("attempt") or 1, job.get("log_bytes") or 0)
        async with aclosing(self._events(job_id, start)) as events:
            async for event in events:
                yield event

    def _events(self, job_id: str, start: Cursor, *, opened: Lines | None = None) -> AsyncGenerator[Event, None]:
        stream = JobStream(
            self._connection.http,
            self.server_url,
            self.get_job,
            job_id,
            start=start,
            on_break=self._on_break,
            opened=opened,
        )
        return stream.events(patient=self._connection.has_answered, reconnect_seconds=self._reconnect_seconds)

    async def log(
        self,
        job_id: str,
        *,
        attempt: int | None = None,
        start: int = 0,
        end: int | None = None,
        service: str | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a job's log from `start` up to but not including `end`; by default all that exist now.

        `attempt` counts from 1; None is the latest one. `service` names one of the job's services, whose log is meant.
        """
        if end is not None and end <= start:
            return
        last = "" if end is None else str(end - 1)
        headers = {} if start == 0 and end is None else {"Range": f"bytes={start}-{last}"}
        params = {} if attempt is None else {"attempt": str(attempt)}
        with translated(self.server_url):
            path = job_path(job_id, "log") if service is None else job_path(job_id, "services", service, "log")
            async with self._connection.http.stream("GET", path, headers=headers, params=params) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return  # The log does not reach that far yet.
                await checked(response)
                if headers and response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise AnswerNotUnderstood(f"{response.url} does not serve ranges")
                async for chunk in response.aiter_bytes():
                    yield chunk

    async def artifacts(self, job_id: str, *, attempt: int | None = None) -> dict[str, Any]:
        """Return a job's artifacts, as `GET /jobs/{id}/artifacts` shows them; by default those of the last attempt."""
        from ci_client.downloading.download import list_artifacts  # Most commands have no use for it.

        return await list_artifacts(self._connection, job_id, attempt)

    async def download(
        self,
        job_id: str,
        output: Path,
        *,
        patterns: Sequence[str] = (),
        attempt: int | None = None,
        replace: bool = False,
        progress: "DownloadProgress" = lambda _there, _all: None,
    ) -> "list[Saved]":
        """Save a job's artifacts below the directory `output`, or those that match one of `patterns`.

        Files with the same content stay as they are; with another one, they are replaced only with `replace`. Each file
        is there as a whole or not at all. An interrupted download goes on where it was. Raises NotWritten,
        ContentMismatch, ValueError for what is no pattern.
        """
        from ci_client.downloading.download import Download, chosen

        found = await self.artifacts(job_id, attempt=attempt)
        wanted = chosen(found["artifacts"], patterns)
        return await Download(self._connection, job_id, output, attempt=attempt, replace=replace).save(wanted, progress)

    async def get_job(self, job_id: str) -> dict[str, Any]:
        """Return the job in the form that docs/http.md shows."""
        return job_answer(await self._connection.ask("GET", job_path(job_id)))

    async def list_jobs(self, *, limit: int = 50, **filters: str) -> list[dict[str, Any]]:
        """Return at most `limit` jobs, newest first. `filters` are those of `GET /jobs`, as in `status="running"`."""
        jobs: list[dict[str, Any]] = []
        url: str | None = str(httpx.URL("/jobs", params={**filters, "limit": str(min(limit, _PAGE))}))
        while url and len(jobs) < limit:
            response = await self._connection.ask("GET", url)
            jobs += jobs_answer(response)
            url = response.links.get("next", {}).get("url")
        return jobs[:limit]

    async def tests(self, job_id: str, *, limit: int | None = None, **filters: str) -> list[dict[str, Any]]:
        """Return the tests of a job that has ended, in the form that docs/tests.md shows; at most `limit` of them.

        `filters` are those of `GET /jobs/{id}/tests`, as in `status="failed"`, which includes tests with an error, or
        `sort="time"`. A job without a test report has no tests.
        """
        tests: list[dict[str, Any]] = []
        page = _TESTS_PAGE if limit is None else min(limit, _TESTS_PAGE)
        url: str | None = str(httpx.URL(job_path(job_id, "tests"), params={**filters, "limit": str(page)}))
        while url and (limit is None or len(tests) < limit):
            response = await self._connection.ask("GET", url)
            found = response.json()
            if not isinstance(found, list) or not all(isinstance(each, dict) and "status" in each for each in found):
                raise AnswerNotUnderstood(f"{response.url} answered without tests")
            tests += found
            url = response.links.get("next", {}).get("url")
        return tests[:limit]

    async def test_history(self, job_id: str, test: str, *, limit: int = 50) -> dict[str, Any]:
        """Return a test of a job by its `id`, and its results in the jobs of the project, the newest first."""
        path = job_path(job_id, "tests", quote(test, safe=""))
        return object_answer(await self._connection.ask("GET", path, params={"limit": str(limit)}))

    async def reports(self, job_id: str) -> dict[str, Any]:
        """Return what the reports of a job say besides its tests: files, problems, coverage."""
        return object_answer(await self._connection.ask("GET", job_path(job_id, "reports")))

    async def cancel_job(self, job_id: str) -> dict[str, Any]:
        """Request a job's cancellation (idempotent), and return the job. A completed job raises ServerError 409."""
        return job_answer(await self._connection.ask("POST", job_path(job_id, "cancel")))

    async def retry_job(self, job_id: str, changes: Mapping[str, Any] | None = None) -> str:
        """Submit the same as a new job, and return the new job's id. Raises SubmissionUncertain.

        `changes` has the fields in which it is to differ, as `POST /jobs/{id}/retry` takes them.
        """
        return await self._submitter.create(job_path(job_id, "retry"), **({"json": dict(changes)} if changes else {}))

    async def record(self, job_id: str, *, attempt: int | None = None, files: bool = False) -> dict[str, Any]:
        """Return the record of an attempt, by default of the last one, as `GET /jobs/{id}/record` answers.

        With `files`, also the files of an upload by manifest.
        """
        params = {} if attempt is None else {"attempt": str(attempt)}
        params |= {"include": "files"} if files else {}
        url = str(httpx.URL(job_path(job_id, "record"), params=params))
        answer = object_answer(await self._connection.ask("GET", url))
        if not isinstance(answer.get("run"), dict):
            raise AnswerNotUnderstood(f"{self.server_url}{url} answered without a record")
        return answer

    def check_run(self, job_id: str, run: Mapping[str, Any]) -> AsyncGenerator[Check, None]:
        """Yield what becomes of checking log and artifacts against the record of an attempt, its `run`."""
        return Verifier(self._connection, job_id, run).checks()

    async def verify_job(self, job_id: str) -> str:
        """Run the setup of a job once more, to compare the outcome; return the new job's id.

        Its `result` is a `ci_common.environments.Verification` as JSON. Raises SubmissionUncertain.
        """
        return await self._submitter.create(job_path(job_id, "verify"))

    async def delete_job(self, job_id: str) -> dict[str, Any] | None:
        """Delete a completed job with its log and upload. A job that has not completed is cancelled and returned."""
        response = await self._connection.ask("DELETE", job_path(job_id))
        return None if response.status_code == httpx.codes.NO_CONTENT else job_answer(response)
