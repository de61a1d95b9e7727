"""What a process uses, seen from outside, and tables of it."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

MIB = 1024**2


def resident_memory(pid: int) -> int:
    """Return the bytes of memory that the process has at present."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def descriptors(pid: int) -> int:
    """Return how many files and connections the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    """Return how many threads the process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def processor_seconds(pid: int) -> float:
    """Return the processor time that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """Return what the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    ask = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        engine = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        engine = "none"
    return (
        f"{os.cpu_count()} processors, {memory:.0f} GiB of memory, Linux {platform.release()}, "
        f"Python {platform.python_version()}, Docker engine: {engine}"
    )


def write_section(page: Path, name: str, text: str) -> None:
    """Replace the text between the page's marks `<!-- NAME -->` and `<!-- end of NAME -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text().partition(begin)
    assert found, f"{page} has no mark {begin}"
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")
