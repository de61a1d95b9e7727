"""The kernel's interface to changes of files."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.system.watch import Inotify, Mask

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    with closing(Inotify()) as inotify:
        yield inotify


def test_a_look_in_vain_does_not_wait(inotify: Inotify) -> None:
    assert not os.get_blocking(inotify.descriptor)
    assert inotify.changed() == set()


def test_no_child_inherits_it(inotify: Inotify) -> None:
    assert not os.get_inheritable(inotify.descriptor)


def test_events_with_and_without_names_come_together(inotify: Inotify, tmp_path: Path) -> None:
    file = tmp_path / "ä file"
    file.touch()
    of_folder, of_file = inotify.add(tmp_path, Mask.CREATE), inotify.add(file, Mask.MODIFY)
    (tmp_path / ("long" * 50)).touch()
    file.write_text("x")
    assert inotify.changed() == {of_folder, of_file}
    assert inotify.changed() == set()


def test_what_cannot_be_watched_is_told(inotify: Inotify, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        inotify.add(tmp_path / "absent", Mask.MODIFY)
    with pytest.raises(OSError, match="Not a directory"):
        inotify.add(Path("/dev/null"), Mask.CREATE | Mask.ONLYDIR)
    with pytest.raises(OSError, match="Invalid"):
        inotify.remove(7)
