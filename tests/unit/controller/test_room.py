"""Whether there is room for containers that only wait."""

from pathlib import Path

import pytest

from ci_controller.pool.demand import free_memory_percent


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:    250 kB\n", 25.0),
        ("MemTotal:       1000 kB\nMemFree:          10 kB\n", 100.0),
        ("MemTotal:          0 kB\nMemAvailable:      0 kB\n", 100.0),
        ("", 100.0),
    ],
)
def test_what_the_system_tells_of_its_memory(tmp_path: Path, text: str, percent: float) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(text)
    assert free_memory_percent(meminfo) == percent


def test_a_system_that_tells_nothing_is_not_held_for_full(tmp_path: Path) -> None:
    assert free_memory_percent(tmp_path / "none") == 100.0
