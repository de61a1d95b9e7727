"""The watermark: how much of a disk stays free."""

from pathlib import Path

import pytest

from ci_common.disk import RECENT_SECONDS, Disk, RecentUsage
from ci_common.errors import DiskLow
from ci_common.settings import Settings
from tests.helpers.disks import PlayedUsage


def disk(total: int, free: int, *, floor: int = 100, percent: float = 5.0) -> Disk:
    played = PlayedUsage(total, free)
    return Disk([Path("/data")], min_free_bytes=floor, min_free_percent=percent, usage=lambda _: played)


@pytest.mark.parametrize(
    ("total", "free", "wanted", "is_low"),
    [
        (10_000, 100, 0, False),
        (10_000, 99, 0, True),
        (10_000, 600, 500, False),
        (10_000, 600, 501, True),
        (1_000, 50, 0, False),  # 5 % are less than 100.
        (1_000, 49, 0, True),
    ],
)
def test_the_lesser_of_bytes_and_percent_stays_free(total: int, free: int, wanted: int, is_low: bool) -> None:
    tried = disk(total, free)
    if not is_low:
        tried.check(wanted=wanted)
        return
    with pytest.raises(DiskLow, match=f"under /data has {free} bytes") as caught:
        tried.check(wanted=wanted)
    figures = {"free_bytes": free, "min_free_bytes": min(100, total // 20), "wanted_bytes": wanted}
    assert caught.value.figures == figures


def test_a_share_of_the_watermark() -> None:
    disk(10_000, 50).check(share=0.5)
    with pytest.raises(DiskLow):
        disk(10_000, 49).check(share=0.5)


@pytest.mark.parametrize(("floor", "percent"), [(0, 5.0), (100, 0.0)])
def test_no_watermark(floor: int, percent: float) -> None:
    disk(10_000, 0, floor=floor, percent=percent).check()


def test_every_disk_counts_and_one_that_cannot_be_seen_does_not() -> None:
    def usage(path: Path) -> PlayedUsage:
        if path.name == "gone":
            raise FileNotFoundError(path)
        return PlayedUsage(10_000, 10 if path.name == "full" else 5_000)

    paths = [Path("gone"), Path("roomy"), Path("full")]
    with pytest.raises(DiskLow, match="under full"):
        Disk(paths, min_free_bytes=100, min_free_percent=5, usage=usage).check()
    Disk(paths[:2], min_free_bytes=100, min_free_percent=5, usage=usage).check()


def test_the_disks_of_an_installation(tmp_path: Path) -> None:
    settings = Settings(db_path=tmp_path / "a" / "jobs.db", min_free_bytes=2**62, min_free_percent=100)
    settings.data_path.mkdir(parents=True)
    with pytest.raises(DiskLow, match=str(settings.data_path)):
        Disk.of(settings).check()


def test_a_burst_asks_the_system_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, asked = [0.0], []

    def usage(path: Path) -> PlayedUsage:
        asked.append(path)
        return PlayedUsage(100, 100 - len(asked))

    monkeypatch.setattr("ci_common.disk.shutil.disk_usage", usage)
    recent = RecentUsage(lambda: now[0])
    assert [recent(tmp_path).free for _ in range(3)] == [99, 99, 99]
    now[0] += RECENT_SECONDS
    assert recent(tmp_path).free == 98
    assert recent(tmp_path / "other").free == 97
