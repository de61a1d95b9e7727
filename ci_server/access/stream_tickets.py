"""Tickets for the stream of one job, for browsers: an `EventSource` sends no header, and a URL must hold no key.

A ticket is sealed with the key ring for its job, so that it is good for no other one, and needs no row. It opens
streams for a minute; one that is open goes on, as long as its sender's key or token is accepted.
"""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ci_common.access.identity import Identity, Scope
from ci_common.secrets.ring import KeyRing, KeyRingUnusable
from ci_common.times import utc_now
from ci_server.http.refusals import KeyInvalid

PARAMETER: Final = "ticket"
SECONDS: Final = 60
LONGEST: Final = 2000
_INVALID: Final = "the ticket is not one for this job's stream: ask for one with POST /jobs/{id}/ticket"


class StreamTickets:
    """Gives tickets, and knows them again."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def give(self, job_id: str, identity: Identity) -> tuple[str, datetime]:
        """Return a ticket, which is good for everyone who shows it, and until when. Raises KeyRingUnusable."""
        until = utc_now() + timedelta(seconds=SECONDS)
        expires = None if identity.expires is None else identity.expires.timestamp()
        content = {
            "name": identity.name,
            "key_id": identity.key_id,
            "expires": expires,
            "until": until.timestamp(),
        }
        sealed = self._ring.seal(json.dumps(content), _place(job_id))
        return base64.urlsafe_b64encode(sealed.encode()).decode().rstrip("="), until

    def open(self, text: str, job_id: str) -> Identity:
        """Return the identity of who was given a ticket, which may read this job alone. Raises KeyInvalid."""
        try:
            sealed = base64.b64decode(text[:LONGEST] + "=" * (-len(text) % 4), b"-_", validate=True).decode()
            content: dict[str, Any] = json.loads(self._ring.unseal(sealed, _place(job_id)))
        except (KeyRingUnusable, ValueError) as exc:
            raise KeyInvalid(_INVALID) from exc
        if datetime.fromtimestamp(content["until"], UTC) <= utc_now():
            raise KeyInvalid("the ticket has expired: ask for another one with POST /jobs/{id}/ticket")
        expires = None if content["expires"] is None else datetime.fromtimestamp(content["expires"], UTC)
        return Identity(content["name"], frozenset({Scope.JOBS_READ}), key_id=content["key_id"], expires=expires)


def _place(job_id: str) -> tuple[str, ...]:
    return "stream ticket", job_id
