"""Submits to one server: a directory by manifest, an archive as a form; and again while the server is busy."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from uuid import uuid4

import anyio.to_thread
import httpx

from ci_client.errors import ServerError
from ci_client.packing.archive import Archive, open_project
from ci_client.packing.scan import Project, scan_directory
from ci_client.packing.tree import is_directory
from ci_client.stream import Lines
from ci_client.submitting.sending import NoManifests, Sender
from ci_client.submitting.submission import BusyNotice, Patience, Upload, UploadProgress, open_submission, repeated
from ci_client.transport import Connection, object_answer

Submittable = str | os.PathLike[str] | Archive | Project
"""A directory, a zip file, an archive from `packing.archive`, or a directory that `packing.scan` has scanned."""

T = TypeVar("T")


class Submitter:
    """Submits to the server of `connection`.

    Every method may raise SubmissionUncertain, if the connection broke before the server sent the job's id, and what
    `Connection.ask` raises.
    """

    def __init__(
        self, connection: Connection, *, resume_seconds: float, busy_seconds: float, on_busy: BusyNotice | None
    ) -> None:
        """An upload that breaks is resumed for up to `resume_seconds`.

        A submission that a busy server refuses is sent again for up to `busy_seconds`, after a call of `on_busy`.
        """
        self._connection = connection
        self._resume_seconds = resume_seconds
        self._busy_seconds = busy_seconds
        self._on_busy = on_busy

    async def submit(
        self, project: Submittable, spec: Mapping[str, Any] | None, progress: UploadProgress | None
    ) -> str:
        """Submit a project, and return the job's id. Raises PackingError."""
        if (job_id := await self._sent(project, spec, progress)) is not None:
            return job_id
        with ExitStack() as stack:
            upload, content = await self._form(stack, project, spec, progress)
            return await self._once(upload, lambda key: self._create("/submit-async", headers=key, **content))

    async def submit_and_open(
        self, project: Submittable, spec: Mapping[str, Any] | None, progress: UploadProgress | None
    ) -> tuple[str, Lines | None]:
        """Submit a project, and return the job's id and its stream if the answer is that. Raises PackingError."""
        if (job_id := await self._sent(project, spec, progress)) is not None:
            return job_id, None
        connection = self._connection
        with ExitStack() as stack:
            upload, content = await self._form(stack, project, spec, progress)
            opened = await self._once(
                upload,
                lambda key: open_submission(
                    connection.http, connection.server_url, timeout=connection.patient, headers=key, **content
                ),
            )
        connection.has_answered = True
        return opened

    async def create(self, path: str, **content: Any) -> str:
        """Submit by a request without an upload, and return the job's id."""
        return await self._once(None, lambda key: self._create(path, headers=key, **content))

    async def _create(self, path: str, **content: Any) -> str:
        answer = await self._connection.ask("POST", path, timeout=self._connection.patient, **content)
        return cast(str, object_answer(answer, "job_id")["job_id"])

    async def _sent(
        self,
        project: Submittable,
        spec: Mapping[str, Any] | None,
        progress: UploadProgress | None,
    ) -> str | None:
        """Send a directory by manifest, and return its job's id; None for archives, and if the server is too old."""
        if isinstance(project, Archive):
            return None
        if not isinstance(project, Project):
            path = Path(project)
            if not await anyio.to_thread.run_sync(is_directory, path):
                return None
            project = await anyio.to_thread.run_sync(partial(scan_directory, path, to_send=True))
        sender = Sender(self._ask, self._connection.server_url, patience=self._resume_seconds)
        try:
            return await sender.submit(project, spec, progress)
        except NoManifests:
            return None

    async def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send a request of an upload by manifest, patiently while the server is busy."""
        patience = Patience(self._busy_seconds)
        while True:
            try:
                return await self._connection.ask(method, path, timeout=self._connection.patient, **content)
            except ServerError as exc:
                pause = patience.pause_after(exc)
                if self._on_busy is not None:
                    self._on_busy(exc, pause)
            await anyio.sleep(pause)

    async def _form(
        self,
        stack: ExitStack,
        project: Submittable,
        spec: Mapping[str, Any] | None,
        progress: UploadProgress | None,
    ) -> tuple[Upload, dict[str, Any]]:
        """Return a project as an upload, and the request's content with it; both are valid until `stack` closes."""
        if isinstance(project, Project):
            project = project.root
        if not isinstance(project, Archive):
            project = await anyio.to_thread.run_sync(stack.enter_context, open_project(Path(project)))
        upload = Upload(project, progress, encrypted=self._connection.server_url.startswith("https"))
        return upload, {
            "files": {"file": ("project.zip", cast(BinaryIO, upload), "application/zip")},
            "data": {} if spec is None else {"spec": json.dumps(spec)},
            "extensions": upload.extensions,
        }

    async def _once(self, upload: Upload | None, submit: Callable[[dict[str, str]], Awaitable[T]]) -> T:
        """Return what `submit` returns, given the header by which the server knows it when it is sent again."""
        key = {"Idempotency-Key": str(uuid4())}
        return await repeated(
            lambda: self._patiently(upload, lambda: submit(key)),
            may_have_arrived=lambda: upload is None or upload.is_read,
        )

    async def _patiently(self, upload: Upload | None, submit: Callable[[], Awaitable[T]]) -> T:
        """Return what `submit` returns, retrying it while the server is busy."""
        patience = Patience(self._busy_seconds)
        while True:
            if upload is not None:
                upload.begin()
            try:
                return await submit()
            except ServerError as exc:
                pause = patience.pause_after(exc)
                if upload is not None:
                    upload.begin()
                if self._on_busy is not None:
                    self._on_busy(exc, pause)
            await anyio.sleep(pause)
