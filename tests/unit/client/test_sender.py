"""What a sender of manifests makes of connections that break while it submits."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ci_client.errors import ClientError, ConnectionBroken, ServerError, ServerUnreachable, SubmissionUncertain
from ci_client.submitting import submission
from ci_client.submitting.sending import Sender

URL = "http://localhost:1"
BROKEN = ConnectionBroken("the connection broke")
UNREACHABLE = ServerUnreachable("no server answers")
BUSY = ServerError(503, "database_unavailable", "try again")
REFUSED = ServerError(400, "invalid_request", "no")


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_PAUSES", (0.0, 0.0))


def sender(*outcomes: ClientError | httpx.Response) -> Sender:
    """Return a sender whose requests have these outcomes, one after the other."""
    turns: Iterator[ClientError | httpx.Response] = iter(outcomes)

    async def request(method: str, path: str, **content: Any) -> httpx.Response:
        outcome = next(turns)
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    return Sender(request, URL, patience=1)


@pytest.mark.parametrize("later", [BROKEN, UNREACHABLE, BUSY])
async def test_a_submission_is_uncertain_once_its_connection_broke(later: ClientError) -> None:
    with pytest.raises(SubmissionUncertain, match="the connection broke"):
        await sender(BROKEN, later, later)._repeated("POST", "/uploads/1/submit")


@pytest.mark.parametrize("first", [UNREACHABLE, BUSY, REFUSED])
async def test_a_submission_that_never_arrived_is_not(first: ClientError) -> None:
    with pytest.raises(type(first)) as caught:
        await sender(first)._repeated("POST", "/uploads/1/submit")
    assert caught.value is first


async def test_an_answer_after_a_break_counts() -> None:
    answer = httpx.Response(202, json={"job_id": "1"})
    assert await sender(BROKEN, UNREACHABLE, answer)._repeated("POST", "/uploads/1/submit") is answer
    with pytest.raises(ServerError) as caught:
        await sender(BROKEN, REFUSED)._repeated("POST", "/uploads/1/submit")
    assert caught.value is REFUSED
