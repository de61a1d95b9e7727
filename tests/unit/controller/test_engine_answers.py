"""What an answer of the engine says about it."""

import aiodocker
import pytest

from ci_common.runtime_faults import RuntimeUnavailable
from ci_controller.runtime.docker.engine import Absent, Conflict, Engine, Refusal

STOPPING = "grpc: the client connection is closing: context canceled"


@pytest.mark.parametrize(
    ("status", "message", "raised"),
    [
        (404, "No such container", Absent),
        (409, "in use", Conflict),
        (400, STOPPING, Refusal),
        (500, "no such device", Refusal),
        (500, STOPPING, RuntimeUnavailable),
        (900, "Cannot connect", RuntimeUnavailable),
    ],
)
async def test_an_error_of_the_engine(
    status: int, message: str, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is being stopped refuses nothing: it is asked again once it is back."""
    engine = Engine("unix:///nowhere.sock")
    monkeypatch.setattr(engine, "_docker", object())
    with pytest.raises(RuntimeUnavailable) as seen:
        async with engine.call():
            raise aiodocker.DockerError(status, message)
    assert type(seen.value) is raised
