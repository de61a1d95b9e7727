"""Places: what the open streams and the uploads of all server processes take from quotas.

A process writes its own numbers, and the others remove them as a whole once it is dead: it has a row that it renews,
and whose renewals they watch, since their clocks may differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from secrets import randbelow
from typing import Final

from ci_common.quotas import Ceiling, Kind, Quota
from ci_common.system.processes import ProcessIdentity
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.access.quotas import check_quotas
from ci_persistence.stores.leases import is_dead

_LOCK: Final = Statement(lambda sql: sql.lock_text("what"))
_RENEW = Statement("UPDATE servers SET renewal = renewal + 1, seconds = :seconds WHERE id = :id")
_REGISTER = Statement("INSERT INTO servers (id, process, renewal, seconds) VALUES (:id, :process, :renewal, :seconds)")
_SET = Statement(
    lambda sql: (
        f"""
INSERT INTO places (server, quota, kind, name, number)
SELECT :id, quota, kind, name, number
FROM {sql.records("numbers", quota="text", kind="text", name="text", number="bigint")} WHERE {sql.given}
ON CONFLICT (server, quota, kind, name) DO UPDATE SET number = excluded.number
"""
    )
)
_CLEAR = Statement("DELETE FROM places WHERE server = :id AND number = 0")
_SERVERS = Statement("SELECT id, process, renewal, seconds FROM servers")
_REMOVE = Statement("DELETE FROM servers WHERE id = :id AND renewal = :renewal")
_LEAVE = Statement("DELETE FROM servers WHERE id = :id")

Holder = tuple[Quota, Kind, str]
"""Of which quota, and whose: a project's or an owner's."""
Numbers = Mapping[Holder, int]


@dataclass(frozen=True, slots=True)
class Server:
    """A server process that has places."""

    id: str
    process: ProcessIdentity
    seconds: float
    """How long its places outlive it where its death cannot be observed."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """The row of a server process. Every renewal changes it."""

    id: str
    renewal: int
    seconds: float
    is_dead: bool
    """Whether it is known to be dead, as only a process of this machine can be."""


class PlaceStore:
    """The places of all server processes. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, server: Server, wanted: Iterable[Holder], ceilings: Iterable[Ceiling], held: Numbers, changed: Numbers
    ) -> None:
        """Count one place more of `server` for each of `wanted`. Raises QuotaExceeded, and counts none then.

        `held` is what it has without them, `changed` what of that the database does not know.
        """
        wanted, ceilings = tuple(wanted), tuple(ceilings)
        await self._database.write(
            partial(_take, server=server, wanted=wanted, ceilings=ceilings, held=held, changed=changed)
        )

    async def renew(self, server: Server, held: Numbers, changed: Numbers) -> None:
        """Say that `server` lives and has places, `held`, of which the database does not know `changed`."""
        await self._database.write(partial(_renew, server=server, held=held, changed=changed))

    async def leave(self, server: Server) -> None:
        """Forget a server process that has no places any more."""
        await self._database.write(partial(_leave, server_id=server.id))

    async def servers(self) -> list[ServerState]:
        """Return all server processes that have places."""
        return await self._database.read(_servers)

    async def remove(self, server: ServerState) -> bool:
        """Forget a process and its places, unless it has been renewed since. Return whether it was there."""
        return await self._database.write(partial(_remove, server=server))


async def _take(
    session: Session,
    *,
    server: Server,
    wanted: tuple[Holder, ...],
    ceilings: tuple[Ceiling, ...],
    held: Numbers,
    changed: Numbers,
) -> None:
    # One that takes a place waits for others that are taking one, and then sees their numbers.
    await session.rows(_LOCK, {"what": "places"})
    await _renew(session, server=server, held=held, changed=changed)
    await check_quotas(session, ceilings, {ceiling.quota: 1 for ceiling in ceilings})
    await _set(session, server, {holder: held.get(holder, 0) + 1 for holder in wanted})


async def _renew(session: Session, *, server: Server, held: Numbers, changed: Numbers) -> None:
    values = {"id": server.id, "seconds": server.seconds}
    if not await session.execute(_RENEW, values):
        # It is new, or others took it for dead. Its row must not be one that they have watched for long.
        await session.execute(_REGISTER, values | {"process": server.process.to_json(), "renewal": randbelow(2**31)})
        changed = held
    await _set(session, server, changed)


async def _set(session: Session, server: Server, numbers: Numbers) -> None:
    rows = [
        {"quota": quota, "kind": kind, "name": name, "number": number}
        for (quota, kind, name), number in sorted(numbers.items())
    ]
    if rows:
        await session.execute(_SET, {"id": server.id, "numbers": to_json(rows)})
    if not all(numbers.values()):
        await session.execute(_CLEAR, {"id": server.id})


async def _leave(session: Session, *, server_id: str) -> None:
    await session.execute(_LEAVE, {"id": server_id})


async def _servers(session: Session) -> list[ServerState]:
    return [
        ServerState(row["id"], row["renewal"], row["seconds"], is_dead(row["process"]))
        for row in await session.rows(_SERVERS)
    ]


async def _remove(session: Session, *, server: ServerState) -> bool:
    return await session.execute(_REMOVE, {"id": server.id, "renewal": server.renewal}) > 0
