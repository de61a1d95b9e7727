"""A job type that is registered here and nowhere else: the real API and controller check it and carry it out."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from pydantic import BaseModel, model_validator

from ci_common.job_types import JOB_TYPES, Computed, JobType, register
from ci_common.parsing.models import StrictModel
from ci_common.parsing.values import Integer
from ci_common.settings import Settings
from ci_controller.main import controlling
from ci_server.app import create_api
from ci_server.connections.serving import serve


class DoublePayload(StrictModel):
    number: Integer

    @model_validator(mode="after")
    def _is_lucky(self) -> Self:
        if self.number == 13:
            raise ValueError("13 cannot be doubled")
        return self


class Doubled(BaseModel):
    twice: int


DOUBLE = JobType(
    "double",
    "Doubles a number.",
    payload=DoublePayload,
    result=Doubled,
    carried_out_by=Computed(result=lambda payload: Doubled(twice=2 * payload.number)),
)


@pytest.fixture
def double() -> Iterator[None]:
    register(DOUBLE)
    yield
    del JOB_TYPES[DOUBLE.name]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server with its controller, in this process."""
    settings = Settings(db_path=tmp_path / "jobs.db", runtime="process", pool_size=0)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    api = create_api(settings, companions=[controlling])
    serving = asyncio.create_task(serve(api, on_ready=ready.set_result, install_signal_handlers=False))
    await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
    async with httpx.AsyncClient(base_url=await ready, timeout=20, trust_env=False) as client:
        yield client
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.usefixtures("double")
async def test_a_registered_type_is_carried_out(client: httpx.AsyncClient) -> None:
    accepted = await client.post("/jobs", json={"type": "double", "payload": {"number": "21"}})
    assert accepted.status_code == 202, accepted.text
    url = accepted.headers["Location"]
    await client.get(f"{url}/stream")
    job = (await client.get(url)).json()
    assert (job["type"], job["conclusion"], json.loads(job["result"])) == ("double", "succeeded", {"twice": 42})
    assert (job["payload"], job["runtime"], job["image"]) == ({"number": "21"}, "builtin", None)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("payload", "errors"),
    [
        ({}, {"payload.number": "it is missing"}),
        ({"number": 13}, {"payload": "13 cannot be doubled"}),
        (
            {"number": "many", "of": "what"},
            {
                "payload.number": "'many' is not a whole number; write digits (10), at most 32",
                "payload.of": "unknown field; known are number",
            },
        ),
    ],
)
async def test_its_payload_is_checked(
    client: httpx.AsyncClient, payload: dict[str, object], errors: dict[str, str]
) -> None:
    refused = await client.post("/jobs", json={"type": "double", "payload": payload})
    assert refused.status_code == 400
    assert {error["path"]: error["message"] for error in refused.json()["errors"]} == errors


async def test_a_type_that_is_not_registered_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.post("/jobs", json={"type": "double", "payload": {"number": 21}})
    assert refused.status_code == 400
    known = ", ".join(JOB_TYPES)
    assert refused.json()["errors"] == [
        {"path": "type", "message": f"'double' is not a type of job; there are {known}"}
    ]
