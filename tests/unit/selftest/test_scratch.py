"""Whether a run sees that something outside of the jobs' directories was changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_selftest.scratch import Scratch


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    scratch = Scratch(tmp_path)
    scratch.create("process")
    return scratch


def test_nothing_has_escaped_at_first(scratch: Scratch) -> None:
    assert scratch.what_escaped() == []


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda canary: (canary / "inner" / "file").unlink(), ["inner/file"]),
        (lambda canary: shutil.rmtree(canary / "d0"), ["d0", "d0/file"]),
        (lambda canary: (canary / "d0").chmod(0o777), ["d0"]),
        (lambda canary: (canary / "d0" / "file").write_text("other"), ["d0/file"]),
        (lambda canary: (canary / ".deleting-0").mkdir(), [".deleting-0"]),
    ],
)
def test_every_kind_of_change_is_seen(scratch: Scratch, harm: Callable[[Path], object], found: list[str]) -> None:
    harm(scratch.canary)
    assert scratch.what_escaped() == found
