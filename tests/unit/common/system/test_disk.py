"""The watermark: how much of a disk stays free."""

from pathlib import Path

import pytest

from ci_common.errors import DiskLow
from ci_common.settings import Settings
from ci_common.system.disk import RECENT_SECONDS, Disk, Room
from ci_server.uploads.staging import Upload
from tests.helpers.machine import PlayedUsage


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
    with pytest.raises(DiskLow, match=f"{free} bytes are free on the disk of /data") as caught:
        tried.check(wanted=wanted)
    figures = {"free_bytes": free, "min_free_bytes": min(100, total // 20), "wanted_bytes": wanted}
    assert caught.value.figures == figures


def test_what_stays_free_is_told_with_what_there_is() -> None:
    assert disk(10_000, 600).rooms() == {Path("/data"): Room(10_000, 600, 100)}
    assert disk(1_000, 600).rooms() == {Path("/data"): Room(1_000, 600, 50)}


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
    with pytest.raises(DiskLow, match="the disk of full"):
        Disk(paths, min_free_bytes=100, min_free_percent=5, usage=usage).check()
    Disk(paths[:2], min_free_bytes=100, min_free_percent=5, usage=usage).check()


def test_the_disks_of_an_installation(tmp_path: Path) -> None:
    settings = Settings(db_path=tmp_path / "a" / "jobs.db", min_free_bytes=2**62, min_free_percent=100)
    settings.data_path.mkdir(parents=True)
    with pytest.raises(DiskLow, match=str(settings.data_path)):
        Disk.of(settings).check()


class Volume:
    """A disk whose free bytes the test sets, of which 100 are to stay free, and a clock that stands still."""

    def __init__(self) -> None:
        self.free = 500
        self.asked = 0
        self.now = 0.0
        self.disk = Disk(
            [Path("/data")],
            min_free_bytes=100,
            min_free_percent=100,
            usage=self._usage,
            recent_seconds=RECENT_SECONDS,
            clock=lambda: self.now,
        )

    def _usage(self, _: Path) -> PlayedUsage:
        self.asked += 1
        return PlayedUsage(1000, self.free)


def test_a_burst_asks_the_system_once() -> None:
    volume = Volume()
    for _ in range(3):
        volume.disk.check()
    assert volume.asked == 1
    volume.now += RECENT_SECONDS
    volume.disk.check()
    assert volume.asked == 2


def test_nobody_is_refused_for_what_a_disk_was_a_moment_ago() -> None:
    volume = Volume()
    volume.free = 0
    with pytest.raises(DiskLow):
        volume.disk.check()
    volume.free = 500
    volume.disk.check()
    volume.free = 250
    with pytest.raises(DiskLow, match="250"):
        volume.disk.check(wanted=450)


def test_whoever_fills_a_disk_goes_by_what_it_is_now() -> None:
    volume = Volume()
    volume.disk.check()
    upload = Upload(volume.disk, expected=600)
    volume.free = 99
    with pytest.raises(DiskLow, match="99"):
        upload.count(401)
