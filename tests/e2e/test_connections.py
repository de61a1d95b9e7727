"""The door of `ci serve` as it is run: as a process, on the event loop that it takes by itself."""

import os
import resource
import sys

import pytest

from tests.e2e.conftest import Connect, Starter
from tests.helpers.http import GET, LAST_GET, exchange
from tests.helpers.service import Service
from tests.helpers.waiting import eventually

ECHO = b'{"type": "echo"}'
POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(ECHO) + ECHO
CHUNKED = (
    b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + ECHO + b"\r\n0\r\n\r\n"
)
UPGRADE = POST.replace(b"\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", 1)


@pytest.fixture
def runtime() -> str:
    """Its jobs are carried out by the controller itself."""
    return "process"


async def test_what_connections_may_send(service: Service) -> None:
    """One service for all of them: it takes longer to start than to answer."""
    together = GET + POST + CHUNKED + UPGRADE + GET * 2_000
    for sent, statuses in {
        together + LAST_GET: [200, 202, 202, 202, *[200] * 2_001],
        LAST_GET.replace(b"Host: localhost", b"Host: evil.example"): [421],
        LAST_GET.replace(b"Host: localhost\r\n", b""): [400],
        b"GET /" + b"x" * 20_000: [414],
        GET[:-2] + b"X: " + b"x" * 20_000 + b"\r\n\r\n": [431],
    }.items():
        assert [answer.status for answer in await exchange(service.url, sent, half_close=True)] == statuses
    for sent, statuses in {POST: [202], GET * 3: [200] * 3, together: [200, 202, 202, 202, *[200] * 2_000]}.items():
        assert [answer.status for answer in await exchange(service.url, sent, half_close=True)] == statuses
    assert not any("Traceback" in line or "ERROR" in line for line in service.said)


async def test_a_reader_that_goes_is_noticed(service: Service, connect: Connect) -> None:
    with service.client() as client:
        job = {"type": "sleep", "payload": {"ms": 3_600_000}}
        job_id = client.post("/jobs", json=job).json()["job_id"]
    for number, half_close in enumerate((True, False)):
        wire = await connect(service.url)
        await wire.send(f"GET /jobs/{job_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await wire.head()
        if half_close:
            wire.writer.write_eof()
            assert b'"complete"' not in await wire.rest()
        wire.close()
        told = f"GET /jobs/{job_id}/stream 200"
        await eventually(lambda: sum(told in line for line in service.said) > number)  # noqa: B023


def limit_descriptors(service: Service, most: int) -> None:
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (most, most))


def descriptors(service: Service) -> int:
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))


SERVE_WITH_64 = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.argv = ["ci", "serve"]
runpy.run_module("ci_cli", run_name="__main__")
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are set")


@linux
async def test_connections_leave_descriptors_for_the_rest(
    environment: dict[str, str], connect: Connect, request: pytest.FixtureRequest
) -> None:
    """With a limit of 64 open files, 36 silent connections once shut all others out, and the log did not say so."""
    service = Service(environment).start("-c", SERVE_WITH_64)
    request.addfinalizer(service.close)
    for _ in range(100):
        await connect(service.url)
    (answer,) = await exchange(service.url, LAST_GET)
    assert answer.status == 200
    (answer,) = await exchange(service.url, POST, half_close=True)
    assert answer.status == 202
    await eventually(lambda: any("connections are open, which is the most" in line for line in service.said))


@linux
async def test_a_process_without_descriptors_says_so_and_recovers(start: Starter, connect: Connect) -> None:
    service = start(CI_CONTROLLER="off")
    await exchange(service.url, LAST_GET)
    limit_descriptors(service, descriptors(service) + 4)
    for _ in range(40):
        await connect(service.url)
    await eventually(lambda: any("new connections cannot be taken" in line for line in service.said))

    async def answers() -> bool:
        return [answer.status for answer in await exchange(service.url, LAST_GET)] == [200]

    await eventually(answers)
