"""The values of an attempt that are to be masked, sealed, so that server and controller know them while it runs.

They lie beside the run directory, where no job reaches them. What has been set since has no part in it: the attempt
runs with the values that it was given.
"""

import json
import logging
from collections.abc import Sequence
from typing import Final

from ci_common.secrets.masks import Everything, Masked, Masks
from ci_common.secrets.ring import KeyRing, KeyRingUnusable

MOST_SEALED_BYTES: Final = 16 * 1024 * 1024

log = logging.getLogger(__name__)


class MaskKeeper:
    """Seals the values of attempts, and makes masks of them."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring

    def seal(self, values: Sequence[str], job_id: str, attempt: int) -> str:
        """Return the values sealed for this attempt alone. Raises KeyRingUnusable."""
        return self.ring.seal(json.dumps(list(values)), _place(job_id, attempt))

    def masks(self, sealed: str, job_id: str, attempt: int) -> Masked:
        """Return the masks for what was sealed; where that cannot be opened, everything is masked."""
        try:
            return Masks(json.loads(self.ring.unseal(sealed, _place(job_id, attempt))))
        except (KeyRingUnusable, ValueError) as exc:
            log.error("job %s: all of its log is masked, since it is not known what its secrets are: %s", job_id, exc)
            return Everything()


def _place(job_id: str, attempt: int) -> tuple[str, ...]:
    return "attempts", job_id, str(attempt), "masks"
