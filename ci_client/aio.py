"""The asynchronous client. `ci_client.client` offers the same to programs without an event loop."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, cast

import anyio.to_thread
import httpx

from ci_client.errors import AnswerNotUnderstood, ConnectionBroken, ServerError, SubmissionUncertain
from ci_client.packing.archive import Archive, open_project
from ci_client.stream import BreakNotice, JobStream, Lines
from ci_client.submission import BusyNotice, Patience, Upload, UploadProgress, open_submission
from ci_client.transport import (
    DEFAULT_URL,
    checked,
    configured_url,
    job_answer,
    job_path,
    jobs_answer,
    object_answer,
    open_http,
    translated,
)
from ci_common.stream import BEGINNING, JOB_ID, Cursor, Event

_ACCEPT_SECONDS = 600.0
"""How long a server may take to check and unpack an upload, or to delete many jobs."""
_PAGE = 100

T = TypeVar("T")


class CiClient:
    """A client of one server. An asynchronous context manager; works with asyncio and trio.

    `server_url` is `http://…`, `https://…` or `unix:///path/to.sock`; by default CI_SERVER_URL, else
    http://localhost:8000. A stream that breaks is resumed for up to `reconnect_seconds`. A connection that brings
    nothing for `idle_seconds`, not even the comment that servers send every 15 s, is broken. `on_break` is called
    when the first attempt to resume a stream has failed. A submission that a busy server refuses is sent again after
    the pause that the server asks for, for up to `busy_seconds`; `on_busy` is called each time.

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
    ) -> None:
        self.server_url = server_url or configured_url() or DEFAULT_URL
        self._reconnect_seconds = reconnect_seconds
        self._busy_seconds = busy_seconds
        self._on_break = on_break
        self._on_busy = on_busy
        self._http = open_http(self.server_url, idle_seconds=idle_seconds)
        self._has_answered = False

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def submit(
        self,
        project: str | os.PathLike[str] | Archive,
        *,
        spec: Mapping[str, Any] | None = None,
        progress: UploadProgress | None = None,
    ) -> str:
        """Submit a project and return the job's id.

        `project` is a directory, a zip file, or an archive from `ci_client.packing.archive`; `spec` has the fields of
        `ci_common.spec.Spec`. Raises PackingError, and SubmissionUncertain if the connection broke before the
        server sent the job's id.
        """
        with ExitStack() as stack:
            upload, content = await self._form(stack, project, spec, progress)
            return await self._create("/submit-async", upload, **content)

    async def create_job(self, request: Mapping[str, Any]) -> str:
        """Submit a job without an upload, by `POST /jobs`, and return its id. Raises SubmissionUncertain."""
        return await self._create("/jobs", json=dict(request))

    async def submit_and_stream(
        self,
        project: str | os.PathLike[str] | Archive,
        *,
        spec: Mapping[str, Any] | None = None,
        progress: UploadProgress | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Submit a project and yield its events, from `job_id` to `complete`. The job goes on if closed early.

        Raises what `submit` and `stream` do.
        """
        with ExitStack() as stack:
            upload, content = await self._form(stack, project, spec, progress)
            job_id, lines = await self._patiently(
                upload, lambda: open_submission(self._http, self.server_url, timeout=self._patient, **content)
            )
        async with aclosing(lines):
            self._has_answered = True
            yield {"type": JOB_ID, "job_id": job_id}
            async with aclosing(self._events(job_id, BEGINNING, opened=lines)) as events:
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
            self._http, self.server_url, self.get_job, job_id, start=start, on_break=self._on_break, opened=opened
        )
        return stream.events(patient=self._has_answered, reconnect_seconds=self._reconnect_seconds)

    async def log(
        self, job_id: str, *, attempt: int | None = None, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a job's log from `start` up to but not including `end`; by default all that exist now.

        `attempt` counts from 1; None is the latest one.
        """
        if end is not None and end <= start:
            return
        last = "" if end is None else str(end - 1)
        headers = {} if start == 0 and end is None else {"Range": f"bytes={start}-{last}"}
        params = {} if attempt is None else {"attempt": str(attempt)}
        with translated(self.server_url):
            async with self._http.stream("GET", job_path(job_id, "log"), headers=headers, params=params) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return  # The log does not reach that far yet.
                await checked(response)
                if headers and response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise AnswerNotUnderstood(f"{response.url} does not serve ranges")
                async for chunk in response.aiter_bytes():
                    yield chunk

    async def get_job(self, job_id: str) -> dict[str, Any]:
        """Return the job in the form that docs/http.md shows."""
        return job_answer(await self._request("GET", job_path(job_id)))

    async def list_jobs(self, *, limit: int = 50, **filters: str) -> list[dict[str, Any]]:
        """Return at most `limit` jobs, newest first. `filters` are those of `GET /jobs`, as in `status="running"`."""
        jobs: list[dict[str, Any]] = []
        url: str | None = str(httpx.URL("/jobs", params={**filters, "limit": str(min(limit, _PAGE))}))
        while url and len(jobs) < limit:
            response = await self._request("GET", url)
            jobs += jobs_answer(response)
            url = response.links.get("next", {}).get("url")
        return jobs[:limit]

    async def cancel_job(self, job_id: str) -> dict[str, Any]:
        """Request a job's cancellation (idempotent), and return the job. A completed job raises ServerError 409."""
        return job_answer(await self._request("POST", job_path(job_id, "cancel")))

    async def retry_job(self, job_id: str) -> str:
        """Submit the same as a new job, and return the new job's id. Raises SubmissionUncertain."""
        return await self._create(job_path(job_id, "retry"))

    async def delete_job(self, job_id: str) -> dict[str, Any] | None:
        """Delete a completed job with its log and upload. A job that has not completed is cancelled and returned."""
        response = await self._request("DELETE", job_path(job_id))
        return None if response.status_code == httpx.codes.NO_CONTENT else job_answer(response)

    async def pool(self) -> dict[str, Any]:
        """Return the pool of warm containers, as `GET /pool` shows it."""
        pool = object_answer(await self._request("GET", "/pool"))
        if not isinstance(pool.get("kinds"), list):
            raise AnswerNotUnderstood(f"{self.server_url}/pool answered without kinds")
        return pool

    async def clean_up(self, **conditions: Any) -> list[str]:
        """Delete the completed jobs for which all `conditions` hold, and return their ids.

        `conditions` are the fields of `POST /jobs/cleanup`, such as `older_than="30d"`; `dry_run=True` deletes nothing.
        """
        job_ids: list[str] = []
        while True:
            answer = object_answer(await self._request("POST", "/jobs/cleanup", json=conditions, timeout=self._patient))
            if not isinstance(answer.get("job_ids"), list):
                raise AnswerNotUnderstood(f"{self.server_url}/jobs/cleanup answered without job_ids")
            job_ids += answer["job_ids"]
            if not answer.get("more") or conditions.get("dry_run"):
                return job_ids

    async def pending_removals(self) -> int:
        """Return the number of deleted jobs whose files have not been removed yet."""
        pending = object_answer(await self._request("GET", "/jobs/cleanup")).get("pending")
        if not isinstance(pending, int):
            raise AnswerNotUnderstood(f"{self.server_url}/jobs/cleanup answered without pending")
        return pending

    async def health(self) -> dict[str, Any]:
        """Return `{"status": "ok"}`, the answer of a server that is up."""
        return object_answer(await self._request("GET", "/health"), "status")

    async def _form(
        self,
        stack: ExitStack,
        project: str | os.PathLike[str] | Archive,
        spec: Mapping[str, Any] | None,
        progress: UploadProgress | None,
    ) -> tuple[Upload, dict[str, Any]]:
        """Return a project as an upload, and the request's content with it; both are valid until `stack` closes."""
        if not isinstance(project, Archive):
            project = await anyio.to_thread.run_sync(stack.enter_context, open_project(Path(project)))
        upload = Upload(project, progress, encrypted=self.server_url.startswith("https"))
        return upload, {
            "files": {"file": ("project.zip", cast(BinaryIO, upload), "application/zip")},
            "data": {} if spec is None else {"spec": json.dumps(spec)},
            "extensions": upload.extensions,
        }

    async def _create(self, path: str, upload: Upload | None = None, **content: Any) -> str:
        async def ask() -> str:
            answer = object_answer(await self._request("POST", path, timeout=self._patient, **content), "job_id")
            return cast(str, answer["job_id"])

        return await self._patiently(upload, ask)

    async def _patiently(self, upload: Upload | None, submit: Callable[[], Awaitable[T]]) -> T:
        """Return what `submit` returns, retrying it while the server is busy."""
        patience = Patience(self._busy_seconds)
        while True:
            if upload is not None:
                upload.begin()
            try:
                return await submit()
            except ConnectionBroken as exc:
                if upload is not None and not upload.is_read:
                    raise  # The server does not accept an incomplete upload.
                raise SubmissionUncertain(
                    f"{exc}; {SubmissionUncertain.WHAT}: look for it among the server's jobs (ci list)"
                ) from exc
            except ServerError as exc:
                pause = patience.pause_after(exc)
                if upload is not None:
                    upload.begin()
                if self._on_busy is not None:
                    self._on_busy(exc, pause)
            await anyio.sleep(pause)

    @property
    def _patient(self) -> httpx.Timeout:
        usual = self._http.timeout
        return httpx.Timeout(connect=usual.connect, read=_ACCEPT_SECONDS, write=usual.write, pool=usual.pool)

    async def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        with translated(self.server_url):
            response = await checked(await self._http.request(method, path, **content))
        self._has_answered = True
        return response
