"""The key ring: whether it is there, closed to others, and opens what the database has."""

from pathlib import Path

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.findings import Finding
from ci_common.secrets.ring import KeyRing, KeyRingUnusable
from ci_persistence.inspection import sealed_texts
from ci_persistence.stores.inspection import DatabaseReport, DatabaseTrouble

_NAME = "key ring"


async def examine_key_ring(database: DatabaseAddress, path: Path, report: DatabaseReport | None) -> list[Finding]:
    """Compare the keys in the ring with those that the secrets in the database need."""
    if report is None or not report.is_current:
        return []
    try:
        sealed = await sealed_texts(database)
    except DatabaseTrouble as exc:
        return [Finding(_NAME, None, f"could not be compared with the database: {exc}", "try again: ci doctor")]
    ring = KeyRing(path)
    if not ring.exists() and not sealed:
        return []
    try:
        known = {key.id for key in ring.read()}
    except KeyRingUnusable as exc:
        problem, _, remedy = str(exc).rpartition(": ")
        return [Finding(_NAME, False, f"{problem}; it is needed for {len(sealed)} secrets", remedy)]
    lost = sum(text.split(".")[1] not in known for text in sealed)
    if lost:
        remedy = "put a copy of the ring back that has their key, or set them again: ci secrets set NAME"
        return [Finding(_NAME, False, f"{path} has not the key of {lost} of {len(sealed)} secrets", remedy)]
    old = sum(not ring.is_newest(text) for text in sealed)
    if old:
        remedy = "seal them with the newest one: ci secrets rotate-keys"
        return [Finding(_NAME, None, f"{old} of {len(sealed)} secrets are sealed with an earlier key", remedy)]
    return [Finding(_NAME, True, f"{path} opens {len(sealed)} secrets")]
