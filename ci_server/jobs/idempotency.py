"""Submissions with an `Idempotency-Key`: one that is sent again makes no second job.

The key is stored with the job. What has not been stored yet is known to the server that receives it; if two servers
receive the same, the one that commits first has made the job.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ci_common.errors import InvalidRequest, JobNotFound, KeyReused, SubmissionInProgress
from ci_common.jobs import Job
from ci_persistence.stores.submissions import AlreadySubmitted, SubmissionKey
from ci_server.endpoints import KEY_HEADER, Call
from ci_server.http.exchange import note_job
from ci_server.services import Services

REPLAYED_HEADER: Final = "Idempotency-Replayed"
KEY_ERRORS: Final = (KeyReused, SubmissionInProgress)
"""The errors of submissions with a key."""
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job of a submission, and how the answer tells of it."""

    job: Job
    replayed: bool

    @property
    def status(self) -> int:
        """202 for a new job, 200 for one that was there."""
        return 200 if self.replayed else 202

    @property
    def headers(self) -> Mapping[str, str]:
        """Where the job is, and whether it was there."""
        return {"Location": f"/jobs/{self.job.id}"} | ({REPLAYED_HEADER: "true"} if self.replayed else {})


class Once:
    """One submission, with a key or without."""

    def __init__(self, services: Services, owner: str, name: str | None, what: str) -> None:
        """`name`: the key; `what`: the method and the path."""
        self._services = services
        self._owner = owner
        self._name = name
        self._what = what
        self.key: SubmissionKey | None = None
        """What has to be stored with the job. Set by `earlier`."""
        self.replayed = False

    async def earlier(self, *parts: bytes | str) -> Job | None:
        """Return the job that the same submission has made before; None for a new one.

        `parts` are all that it asks for. Raises KeyReused where another one has the key, and JobNotFound where the job
        has been deleted.
        """
        if self._name is None:
            return None
        digest = hashlib.sha256()
        for part in (self._what, *parts):
            content = part.encode() if isinstance(part, str) else part
            digest.update(len(content).to_bytes(8))
            digest.update(content)
        self.key = SubmissionKey(self._owner, self._name, digest.hexdigest())
        return await self.stored()

    async def stored(self) -> Job | None:
        """Return the job that is stored under the key. Raises as `earlier` does."""
        if self.key is None:
            return None
        found = await self._services.storage.submissions.get(self.key.owner, self.key.key)
        if found is None:
            return None
        if found.digest != self.key.digest:
            raise KeyReused(
                f"the {KEY_HEADER} {self.key.key!r} belongs to another submission; "
                "give each submission a key of its own"
            )
        self.replayed = True
        try:
            return await self._services.storage.jobs.get(found.job_id)
        except JobNotFound as exc:
            raise JobNotFound(f"this submission made job {found.job_id}, which has been deleted") from exc


async def submitted_once(call: Call[Any, Any], make: Callable[[Once], Awaitable[Job]]) -> Submitted:
    """Return the job that `make` stores, or has stored for the same submission before.

    `make` calls `Once.earlier` once it knows what is submitted, and stores the job with `Once.key`. Raises KeyReused,
    SubmissionInProgress, InvalidRequest for an unusable key, and what `make` raises.
    """
    services, owner, name = call.services, call.identity.name, _key_of(call)
    once = Once(services, owner, name, f"{call.request.method} {call.request.url.path}")
    claim = (owner, name or "")
    if name is not None:
        if claim in services.submissions:
            raise SubmissionInProgress(f"the submission with the {KEY_HEADER} {name!r} is still being accepted")
        services.submissions.add(claim)
    try:
        job = await make(once)
    except AlreadySubmitted:
        stored = await once.stored()
        if stored is None:
            raise SubmissionInProgress(f"the submission with the {KEY_HEADER} {name!r} has just been removed") from None
        job = stored
    finally:
        services.submissions.discard(claim)
    if once.replayed and not call.identity.sees(job.project):
        raise JobNotFound(f"there is no job {job.id}")  # Another key of the same owner has submitted it.
    note_job(call.request.scope, job.id)
    return Submitted(job, once.replayed)


def _key_of(call: Call[Any, Any]) -> str | None:
    """Return the key, without the quotes that it has as a structured field. Raises InvalidRequest."""
    value = call.request.headers.get(KEY_HEADER)
    if value is None:
        return None
    if not value or len(value) > _LONGEST or not (value.isascii() and value.isprintable()):
        raise InvalidRequest(f"{KEY_HEADER} has to have 1 to {_LONGEST} printable ASCII characters, such as a UUID")
    return value[1:-1] if len(value) > 2 and value[0] == value[-1] == '"' else value
