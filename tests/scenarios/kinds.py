"""The jobs of the crash matrix: what each does, what happens to it from outside, and how it may end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ci_common.jobs import Conclusion, Job
from ci_persistence.storage import Storage
from tests.engine.api import EngineAPI, require_engine
from tests.helpers.installation import Installation
from tests.scenarios.invariants import Ending

Visit = Callable[[Installation, Storage, Job], Awaitable[None]]
"""What is done to the job once its code is up."""

_ENDLESS = "trap 'echo term; exit 9' TERM; exec 2>/dev/null; echo up; while :; do sleep 0.05; done"
_FAILING = ("echo begin; echo end", "echo second; exit 5")
_WHOLE = b"begin\nend\nsecond\n"


@dataclass(frozen=True)
class Kind:
    """One kind of job."""

    steps: tuple[str, ...]
    endings: tuple[Ending, ...]
    files: Mapping[str, str] | None = None
    visit: Visit | None = None
    cancelled_at_the_point: bool = False
    service: str | None = None
    """What the service `db` of the job runs."""

    @property
    def needs_container(self) -> bool:
        """Whether there is no such job among processes."""
        return self.service is not None or self.visit is remove_container

    def plan(self, installation: Installation) -> dict[str, object]:
        """Return the fields of the job's plan that are not every job's."""
        if self.service is None:
            return {}
        return {"services": {"db": {"image": installation.image, "command": self.service, "health": {"port": 9}}}}


async def cancel(_: Installation, storage: Storage, job: Job) -> None:
    await storage.jobs.request_cancel(job.id, job.submit_time)


async def remove_container(installation: Installation, _: Storage, job: Job) -> None:
    engine: EngineAPI = require_engine()
    name = f"{installation.settings.container_prefix}ci-{job.id}-{job.attempt}"
    await asyncio.to_thread(engine.request, "DELETE", f"/containers/{name}", {"force": "1"})


KINDS: dict[str, Kind] = {
    "ends_at_once": Kind(_FAILING, (Ending(Conclusion.FAILED, 5, _WHOLE),)),
    "has_an_upload": Kind(
        ("cat a/text; rm a/text",), (Ending(Conclusion.SUCCEEDED, 0, b"hello\n"),), files={"a/text": "hello\n"}
    ),
    "says_something": Kind(
        ("echo answer=42 >>$CI_OUTPUT; echo ::error file=a.py::found",),
        (Ending(Conclusion.SUCCEEDED, 0, b"::error file=a.py::found\n"),),
    ),
    "never_ends_and_is_cancelled": Kind((_ENDLESS,), (Ending(Conclusion.CANCELLED, 9, b"up\nterm\n"),), visit=cancel),
    "loses_its_container": Kind((_ENDLESS,), (Ending(Conclusion.ERRORED, None, b"up\n"),), visit=remove_container),
    "has_a_service": Kind(
        ("echo begin; nc db 9 </dev/null",),
        (Ending(Conclusion.SUCCEEDED, 0, b"begin\nserved\n"),),
        service="exec nc -ll -p 9 -e /bin/echo served",
    ),
    "is_cancelled_just_then": Kind(
        _FAILING,
        (
            Ending(Conclusion.FAILED, 5, _WHOLE),  # Its code was quicker.
            Ending(Conclusion.CANCELLED, None, b""),
            *(Ending(Conclusion.CANCELLED, 143, _WHOLE[:length]) for length in (0, 6, 10, 17)),
        ),
        cancelled_at_the_point=True,
    ),
}
