"""A real server on a free port, and the controller played by hand."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, State
from ci_common.layout import DataDirectory, RunDirectory
from ci_common.processes import this_process
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_persistence.repository import Lease
from ci_persistence.sqlite import SQLiteJobRepository
from ci_server.api import create_api
from ci_server.serving import serve


def zipped(**files: str | bytes) -> bytes:
    """Return a zip archive; `__` in a name stands for a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


class PlayedController:
    """Does by hand what a controller does: moves rows on and writes logs."""

    def __init__(self, repository: SQLiteJobRepository, data: DataDirectory) -> None:
        self.repository = repository
        self.data = data
        self._lease: Lease | None = None

    def run_of(self, job_id: str) -> RunDirectory:
        run = self.data.run(job_id, 1)
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    async def update(self, job_id: str, **changes: Any) -> Job:
        if self._lease is None:
            self._lease = await self.repository.acquire(this_process(), 3600, utc_now())
            assert self._lease is not None
        return await self.repository.update(await self.repository.get(job_id), self._lease, **changes)

    async def start(self, job_id: str) -> RunDirectory:
        run = self.run_of(job_id)
        run.log.touch()
        (run.path / "started").write_text("100.0")
        await self.update(job_id, state=State.STARTING, reason=Reason(ReasonCode.STARTING, "starting"))
        await self.update(job_id, state=State.RUNNING, reason=None, start_time=utc_now(), runtime="process")
        return run

    def write(self, job_id: str, data: bytes) -> None:
        with self.data.run(job_id, 1).log.open("ab") as log:
            log.write(data)

    async def finish(self, job_id: str, exit_code: int = 0, **changes: Any) -> Job:
        log = self.data.run(job_id, 1).log.read_bytes()
        changes = {
            "state": State.COMPLETED,
            "conclusion": Conclusion.FAILED if exit_code else Conclusion.SUCCEEDED,
            "exit_code": exit_code,
            "end_time": utc_now(),
            "log_bytes": len(log),
            "log_sha256": sha256(log).hexdigest(),
        } | changes
        return await self.update(job_id, **changes)


@dataclass
class Api:
    """A running server."""

    url: str
    client: httpx.AsyncClient
    settings: Settings
    data: DataDirectory
    controller: PlayedController
    serving: asyncio.Task[None]

    async def submit(self, command: str = "true", **fields: Any) -> str:
        answer = await self.client.post("/jobs", json={"image": "busybox", "command": command, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def upload(self, content: bytes, path: str = "/submit-async", **more: Any) -> httpx.Response:
        return await self.client.post(path, files={"file": ("project.zip", content, "application/zip")}, **more)

    def left_over(self) -> list[Path]:
        """Return what lies in the data directory for no job's row."""
        return [*self.data.incoming.iterdir()]


StartApi = Callable[..., Any]


@pytest.fixture
async def start_api(tmp_path: Path) -> AsyncIterator[StartApi]:
    """Start servers in this event loop, on free ports; all are stopped in the end."""
    running: list[Api] = []

    async def start(name: str = "jobs", **overrides: Any) -> Api:
        settings = Settings(db_path=tmp_path / f"{name}.db", **overrides)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(create_api(settings), on_ready=ready.set_result, install_signal_handlers=False)
        )
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        repository = SQLiteJobRepository(settings.db_path)
        await repository.open()
        data = DataDirectory(settings.data_path)
        client = httpx.AsyncClient(base_url=await ready, timeout=20, trust_env=False)
        api = Api(await ready, client, settings, data, PlayedController(repository, data), serving)
        running.append(api)
        return api

    yield start
    for api in running:
        await api.client.aclose()
        api.serving.cancel()
        await asyncio.gather(api.serving, return_exceptions=True)
        await api.controller.repository.close()


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    started: Api = await start_api()
    return started
