"""`ci secrets rotate-keys`: seals all secrets again with a new key, where the server runs."""

from dataclasses import dataclass
from pathlib import Path

from ci_common.secrets.ring import KeyRing
from ci_common.secrets.stored import StoredSecret, place_of
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.system.reporting import log_to_stderr
from ci_persistence.open import open_installation
from ci_persistence.storage import Storage


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done."""

    key_id: str
    """The new key."""
    path: Path
    """The key ring."""
    resealed: int
    removed: int
    """How many earlier keys were removed."""


async def rotate_keys(settings: Settings) -> Rotated:
    """Add a key, seal every secret with it, and remove the earlier ones but the last.

    A process that is killed in between leaves a ring that opens everything; the same again finishes it. Raises
    Unavailable, also for a secret that no key opens.
    """
    log_to_stderr("warning", form="ci: %(message)s")
    ring = KeyRing(settings.keyring_path)
    async with open_installation(settings) as storage:
        await storage.audit.add([command_entry("rotate_key_ring", "ci secrets rotate-keys", "/secrets")])
        key = ring.add_key()
        resealed = 0
        # What is set in between by a server that has read the ring before is found in another round.
        while old := [secret for secret in await storage.secrets.list() if _is_old(ring, secret)]:
            for secret in old:
                resealed += await _resealed(ring, storage, secret)
    return Rotated(key.id, ring.path, resealed, ring.keep_two())


def _is_old(ring: KeyRing, secret: StoredSecret) -> bool:
    return secret.sealed is not None and not ring.is_newest(secret.sealed)


async def _resealed(ring: KeyRing, storage: Storage, secret: StoredSecret) -> bool:
    assert secret.sealed is not None, "the caller has chosen it"
    place = place_of(secret.project, secret.name)
    return await storage.secrets.reseal(secret, ring.seal(ring.unseal(secret.sealed, place), place))
