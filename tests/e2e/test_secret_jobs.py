"""Jobs with secrets on the real service: what they get, and that their values are to be seen nowhere."""

import asyncio
import base64
import hashlib
import json
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ci_client.aio import CiClient
from ci_common.run_directory.layout import RunDirectory
from ci_controller.run_directory.preparation import is_cleared
from tests.e2e.conftest import Starter
from tests.helpers.service import Service, containers, ended, finished, terminals
from tests.helpers.vault import vault_server
from tests.helpers.waiting import eventually

VALUE = "correct/horse+battery-staple"
PEM = "-----BEGIN KEY-----\nQ0lQSEVSVEVYVC1PTkUtMTIzNA==\nQ0lQSEVSVEVYVC1UV08tNTY3OA==\n-----END KEY-----\n"
FORMS = [VALUE, base64.b64encode(VALUE.encode()).decode()[:-3], quote(VALUE, safe=""), "Q0lQSEVSVEVYVC1PTkUtMTIzNA=="]
WANTED = {"TOKEN": None, "KEY": {"file": "key.pem"}}
SHELL = """
printf 'env %s\\n' "$TOKEN"
printf %s "$TOKEN" | base64
printf 'correct/horse'; sleep 0.3; printf '+battery-staple\\n'
cat "$CI_SECRETS/key.pem"
while [ ! -e go ]; do sleep 0.1; done
i=0; while [ $i -lt 300 ]; do printf '%s%s;' "$i" "$TOKEN"; i=$((i+1)); done; echo
echo '::add-mask::made-while-running-1'; echo made-while-running-1
printf 'value=%s\\n' "$TOKEN" >>"$CI_OUTPUT"; printf 'sum %s\\n' "$TOKEN" >>"$CI_SUMMARY"
printf '::error file=a.py,line=1::bad %s\\n' "$TOKEN"
printf '<testsuite><testcase name="%s" classname="c"><failure message="%s"/></testcase></testsuite>' \\
    "$TOKEN" "$TOKEN" >"$CI_REPORTS/junit.xml"
echo x >"out-$(printf %s "$TOKEN" | tr / _)"; echo x >out-plain; echo x >out-made-while-running-1
"""


@asynccontextmanager
async def secrets_of(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url) as client:
        await _set(client)
        yield client


async def _set(client: httpx.AsyncClient) -> None:
    for name, value in (("TOKEN", VALUE), ("KEY", PEM)):
        assert (await client.put(f"/secrets/{name}", json={"value": value})).status_code == 200


def job_for(image: str, **more: Any) -> dict[str, Any]:
    return {"image": image, "command": SHELL, "secrets": WANTED, "artifacts": ["out-*"], **more}


def nothing_in(text: str) -> None:
    assert [form for form in FORMS if form in text] == []


async def ranges(client: httpx.AsyncClient, job_id: str) -> list[tuple[int, bytes]]:
    """Read ranges at random until the job has ended."""
    chance, got = random.Random(1), []
    while True:
        start = chance.randrange(200)
        wanted = f"bytes={start}-{start + chance.randrange(60)}"
        answer = await client.get(f"/jobs/{job_id}/log", headers={"Range": wanted})
        if answer.status_code == 206:
            got.append((start, answer.content))
        if (await client.get(f"/jobs/{job_id}")).json()["status"] == "completed":
            return got
        await asyncio.sleep(0.02)


async def test_a_job_has_its_secrets_and_no_one_sees_them(
    start: Starter, environment: dict[str, str], shell_image: str, runtime: str, tmp_path: Path
) -> None:
    service = start(CI_POOL_SIZE="2")
    async with secrets_of(service) as web, CiClient(service.url) as client:
        first = await client.create_job(job_for(shell_image))
        reading = asyncio.create_task(ranges(web, first))
        data = Path(environment["CI_DB_PATH"]).with_suffix(".data")
        log = data / "jobs" / first / "1" / "log"
        await eventually(lambda: log.exists() and log.read_bytes().count(b"\n") >= 7, "the job has written its secrets")
        assert VALUE.encode() in log.read_bytes(), "the job did have it"
        running = (await web.get(f"/jobs/{first}?include=log")).text
        nothing_in(running)
        assert "env ****" in running
        if runtime == "docker":
            seen = subprocess.run(
                ["docker", "inspect", *containers(environment["CI_CONTAINER_PREFIX"])], capture_output=True, check=True
            )
            nothing_in(seen.stdout.decode())
        seen = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True)
        nothing_in(seen.stdout.decode())
        with terminals(environment) as ci:
            status, _, said = ended(ci("backup", tmp_path / "backup"))
            assert status == 0, said
        for path in (tmp_path / "backup").rglob("*"):
            assert not path.is_file() or VALUE.encode() not in path.read_bytes(), path
        workspace = data / "jobs" / first / "1" / "workspace"
        (workspace / "go").touch()
        job = await finished(client, first)
        assert job["conclusion"] == "succeeded", job
        whole = (await web.get(f"/jobs/{first}/log")).content
        assert hashlib.sha256(whole).hexdigest() == job["log_sha256"]
        assert len(whole) == job["log_bytes"]
        nothing_in(whole.decode())
        for start_byte, part in await reading:
            assert part == whole[start_byte : start_byte + len(part)]
        lines = whole.decode().split("\n")
        assert lines[0] == f"env {'*' * len(VALUE)}"
        assert lines[2] == "*" * len(VALUE)
        assert "made-while-running-1" not in whole.decode()
        _check_results(job)
        tests = (await web.get(f"/jobs/{first}/tests")).text
        nothing_in(tests)
        assert "***" in tests
        artifacts = (await web.get(f"/jobs/{first}/artifacts")).text
        nothing_in(artifacts)
        assert "out-plain" in artifacts
        assert "made-while-running" not in artifacts
        nothing_in((await web.get(f"/jobs/{first}/record")).text)
    await _nothing_is_left(service, data, first)


def _check_results(job: dict[str, Any]) -> None:
    nothing_in(json.dumps(job))
    assert job["outputs"] == {"value": "***"}
    assert job["summary"] == "sum ***\n"
    assert [each["message"] for each in job["annotations"]] == [f"bad {'*' * len(VALUE)}"]


async def _nothing_is_left(service: Service, data: Path, job_id: str) -> None:
    run = data / "jobs" / job_id
    await eventually(lambda: not (run / "1.masks").exists() and is_cleared(RunDirectory(run / "1")), "it is cleaned up")
    nothing_in("".join(service.said))
    for path in data.parent.rglob("*"):
        if path.is_file() and data.parent in path.parents:
            content = path.read_bytes()
            assert VALUE.encode() not in content, path


async def test_each_attempt_is_given_the_present_value(start: Starter, shell_image: str) -> None:
    service = start()
    async with secrets_of(service) as web, CiClient(service.url) as client:
        command = 'printf "%s " "$TOKEN" | tr a-z b-za; [ "$TOKEN" = another-value-22 ]'
        body = {
            "image": shell_image,
            "command": command,
            "secrets": ["TOKEN"],
            "retry": {"max_attempts": 2, "backoff": 2},
        }
        job = await client.create_job(body)

        async def has_failed() -> bool:
            return (await client.get_job(job))["attempt"] == 2

        async with asyncio.timeout(60):
            while not await has_failed():
                await asyncio.sleep(0.05)
        await web.put("/secrets/TOKEN", json={"value": "another-value-22", "existing": True})
        done = await finished(client, job)
        assert (done["attempt"], done["conclusion"]) == (2, "succeeded")


async def test_a_secret_that_has_gone_ends_the_job_with_the_reason(
    start: Starter, shell_image: str, tmp_path: Path
) -> None:
    with vault_server() as vault:
        vault.secrets["secret/web"] = {"token": VALUE, "short": "abc"}
        (tmp_path / "token").write_text(vault.token)
        service = start(VAULT_ADDR=vault.url, CI_VAULT_TOKEN_FILE=str(tmp_path / "token"))
        async with httpx.AsyncClient(base_url=service.url) as web, CiClient(service.url) as client:
            for name, field in (("GOOD", "token"), ("GONE", "other"), ("SHORT", "short")):
                await web.put(f"/secrets/{name}", json={"reference": f"vault:secret/web#{field}"})
            conclusions = {}
            for name in ("GOOD", "GONE", "SHORT"):
                body = {
                    "image": shell_image,
                    "command": f'echo "${name}"',
                    "secrets": [name],
                }
                job = await finished(client, await client.create_job(body))
                conclusions[name] = job["conclusion"], (job["reason"] or {}).get("code"), job["error"] or ""
            assert conclusions["GOOD"][0] == "succeeded"
            assert conclusions["GONE"][:2] == ("errored", "secret_unavailable")
            assert "no field other" in conclusions["GONE"][2]
            assert conclusions["SHORT"][:2] == ("errored", "secret_unavailable")
            assert "--unmasked" in conclusions["SHORT"][2]


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["docker"])
async def test_a_waiting_container_has_no_secret_and_its_job_has(
    start: Starter, environment: dict[str, str], shell_image: str
) -> None:
    service = start(CI_POOL_SIZE="1")
    async with secrets_of(service) as web, CiClient(service.url) as client:
        body = {"image": shell_image, "command": '[ "$TOKEN" ] && cat "$CI_SECRETS/key.pem"', "secrets": WANTED}
        await finished(client, await client.create_job(body))

        async def waiting() -> bool:
            return any(kind["waiting"] for kind in (await web.get("/pool")).json()["kinds"])

        await eventually(waiting, "a container waits")
        pool = Path(environment["CI_DB_PATH"]).with_suffix(".data") / "pool"
        for path in pool.rglob("*"):
            assert not path.is_file() or VALUE.encode() not in path.read_bytes(), path
        job = await finished(client, await client.create_job(body))
        assert (job["conclusion"], job["start_way"]) == ("succeeded", "warm"), job
        log = (await web.get(f"/jobs/{job['job_id']}/log")).text
        assert log == "".join("*" * len(line) + "\n" for line in PEM.splitlines())
