"""How much memory the machine has left."""

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
_FIELD = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", re.MULTILINE)


def available_percent(meminfo: Path = MEMINFO) -> float:
    """Return how many percent of the machine's memory can be had without swapping; 100 where nobody tells."""
    try:
        found = dict(_FIELD.findall(meminfo.read_text()))
    except OSError:
        return 100.0
    if not found.keys() >= {"MemTotal", "MemAvailable"} or int(found["MemTotal"]) == 0:
        return 100.0
    return 100 * int(found["MemAvailable"]) / int(found["MemTotal"])
