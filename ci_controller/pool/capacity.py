"""Whether the machine has room for containers that only wait."""

import re
from collections.abc import Callable
from pathlib import Path

from ci_common.errors import DiskLow
from ci_common.settings import Settings
from ci_common.system.disk import Disk

MEMINFO = Path("/proc/meminfo")
_FIELD = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", re.MULTILINE)


def obstacle(settings: Settings, disk: Disk, memory_percent: Callable[[], float]) -> str | None:
    """Return why none may wait at present, or None."""
    if memory_percent() < settings.pool_min_free_memory:
        return f"less than {settings.pool_min_free_memory:g} % of the memory is available"
    try:
        disk.check()
    except DiskLow as exc:
        return str(exc)
    return None


def available_percent(meminfo: Path = MEMINFO) -> float:
    """Return how many percent of the machine's memory can be had without swapping; 100 where nobody tells."""
    try:
        found = dict(_FIELD.findall(meminfo.read_text()))
    except OSError:
        return 100.0
    if not found.keys() >= {"MemTotal", "MemAvailable"} or int(found["MemTotal"]) == 0:
        return 100.0
    return 100 * int(found["MemAvailable"]) / int(found["MemTotal"])
