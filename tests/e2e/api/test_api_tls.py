"""TLS by files: what is spoken, what becomes of new files, and of clients that do not shake hands."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from ci_common.errors import SettingsError
from ci_common.settings import Settings
from ci_server.app import create_api
from ci_server.connections import serving, tls
from ci_server.connections.serving import serve
from ci_server.connections.tls import Certificate
from tests.helpers.certificates import make_certificate
from tests.helpers.waiting import eventually

LARGE = {"image": "none", "command": "true", "env": {"TEXT": "x" * 60_000}}
Start = Callable[[], Awaitable[int]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    made = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(*made)
    return made


@pytest.fixture
async def start(tmp_path: Path, files: tuple[Path, Path]) -> AsyncIterator[Start]:
    """Starts a server with them, and returns its port."""
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> int:
            ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            app = create_api(Settings(db_path=tmp_path / "jobs.db"))
            task = asyncio.create_task(
                serve(app, on_ready=ready.set_result, install_signal_handlers=False, certificate=Certificate(*files))
            )

            async def stop() -> None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            stack.push_async_callback(stop)
            url = await asyncio.wait_for(ready, 20)
            assert url.startswith("https://127.0.0.1:")
            return int(url.rpartition(":")[2])

        yield start


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def status(port: int, context: ssl.SSLContext) -> int:
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=20) as client:
        return (await client.get(f"https://localhost:{port}/jobs")).status_code


async def test_requests_and_uploads(start: Start, files: tuple[Path, Path]) -> None:
    port = await start()
    async with httpx.AsyncClient(verify=trusting(files[0]), trust_env=False, timeout=20) as client:
        made = await client.post(
            f"https://localhost:{port}/jobs", json={"type": "echo", "payload": {"x": "y" * 100_000}}
        )
        assert made.status_code in (202, 400)
        schema = await client.get(f"https://localhost:{port}/schema/spec.json")
        assert schema.json()["$id"] == str(schema.url)


async def test_plain_http_gets_no_answer(start: Start) -> None:
    port = await start()
    with pytest.raises(httpx.TransportError):
        await httpx.AsyncClient(trust_env=False).get(f"http://localhost:{port}/jobs")


def test_old_versions_are_refused(files: tuple[Path, Path]) -> None:
    assert Certificate(*files).context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_new_files_are_used_for_new_connections(
    start: Start, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.02)
    caplog.set_level(logging.INFO, "ci_server.connections")
    port, old = await start(), trusting(files[0])
    async with httpx.AsyncClient(verify=old, trust_env=False, timeout=20) as open_before:
        assert (await open_before.get(f"https://localhost:{port}/jobs")).status_code == 200
        make_certificate(*files)
        await eventually(lambda: "was read again" in caplog.text)
        assert (await open_before.get(f"https://localhost:{port}/jobs")).status_code == 200, "its connection stays"
    assert await status(port, trusting(files[0])) == 200
    with pytest.raises(httpx.ConnectError):
        await status(port, old)


async def test_files_that_do_not_fit_are_not_used(
    start: Start, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.02)
    port, context = await start(), trusting(files[0])
    key = files[1].read_bytes()
    make_certificate(files[0].with_name("other.pem"), files[1])
    await eventually(lambda: "is not used" in caplog.text)
    assert await status(port, context) == 200
    files[1].unlink()
    await eventually(lambda: "No such file" in caplog.text)
    files[1].write_bytes(key)
    assert await status(port, context) == 200


async def test_who_does_not_shake_hands_is_disconnected(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.2)
    port = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_is_no_certificate(files: tuple[Path, Path], content: bytes) -> None:
    files[0].write_bytes(content)
    with pytest.raises(SettingsError, match=r"CI_TLS_CERT=.*do not fit together"):
        Certificate(*files)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CI_TLS_CERT=.*No such file"):
        Certificate(tmp_path / "none", tmp_path / "none")


def test_one_file_alone(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="belong together"):
        Settings.from_env({"CI_TLS_CERT": str(tmp_path / "cert.pem")})
