"""Checks the chain of the audit here, so that a server that has been tampered with is not believed."""

from typing import Any

from ci_client.administration import Administration
from ci_common.sharing.audit import Broken, Chain, Mark

_TRIES = 5


async def verified_here(client: Administration, mark: str | None = None) -> dict[str, Any]:
    """Walk along the audit, here and on the server, and return what was found, as `GET /audit/verify` shows it.

    The audit has to have `mark`, unless its entry was removed since it was old.
    """
    found = await client.verify_audit(mark)
    for _ in range(_TRIES):
        chain, broken = await _walk(client, found, mark)
        removed, found = found["removed"], found if broken is None else await client.verify_audit(mark)
        if found["removed"] == removed:  # Else the entries that could not be found were removed since they were old.
            break
    by_server = found.get("broken")
    return {
        "entries": chain.entries,
        "removed": found["removed"],
        "last": str(chain.mark),
        "broken": by_server if broken is None else {"number": broken.number, "reason": broken.reason},
    }


async def _walk(client: Administration, found: dict[str, Any], mark: str | None) -> tuple[Chain, Broken | None]:
    """Return how far the entries fit, and why the next one does not; None if all do."""
    removed, last = Mark.parse(found["removed"]), Mark.parse(found["last"])
    chain = Chain(removed, None if mark is None else Mark.parse(mark))
    async for page in client.audit(after=str(removed.number)):
        for entry in page:
            if (broken := chain.check(entry)) is not None:
                return chain, broken
    if found.get("broken") is None and chain.mark.number <= last.number:
        return chain, chain.check_end(last)
    return chain, None
