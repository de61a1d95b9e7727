"""Reading files for their digests, by one thread or by several."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from ci_client.packing import digests
from ci_client.packing.digests import Digested, Reader
from ci_client.packing.tree import Leaf

BATCH = 8


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that have read files, one for each file."""
    found: list[str] = []
    original = digests._digested

    def noted(leaf: Leaf, *, keeping: bool) -> Digested | OSError:
        found.append(threading.current_thread().name)
        return original(leaf, keeping=keeping)

    monkeypatch.setattr(digests, "_digested", noted)
    return found


def batches(root: Path, size: int) -> Iterator[list[Leaf]]:
    for first in (0, BATCH):
        leaves = [Leaf(str(number), f"{root}/{number}", is_link=False) for number in range(first, first + BATCH)]
        for leaf in leaves:
            Path(leaf.location).write_bytes(bytes(size))
        yield leaves


def clock(monkeypatch: pytest.MonkeyPatch, *, seconds: float, busy: float) -> None:
    """Let each batch take so many seconds, of which the processor is busy for so many."""
    for name, step in (("perf_counter", seconds), ("thread_time", busy)):
        ticks = count()
        monkeypatch.setattr(digests.time, name, lambda ticks=ticks, step=step: next(ticks) * step)


@pytest.mark.parametrize(
    ("size", "seconds", "busy", "has_threads"),
    [
        pytest.param(10, 1.0, 0.9, False, id="short files in memory"),
        pytest.param(10, 1.0, 0.1, True, id="files on a disk"),
        pytest.param(10, 0.01, 0.001, False, id="too early to say"),
        pytest.param(300_000, 1.0, 0.9, True, id="long files"),
    ],
)
def test_threads_read_where_that_is_quicker(
    tmp_path: Path,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    seconds: float,
    busy: float,
    has_threads: bool,
) -> None:
    clock(monkeypatch, seconds=seconds, busy=busy)
    here = threading.current_thread().name
    with Reader(2, keeping=False) as reader:
        for leaves in batches(tmp_path, size):
            found = reader.begin(leaves)()
            assert {each.sha256 for each in found.values() if isinstance(each, Digested)} == {
                sha256(bytes(size)).hexdigest()
            }
            assert len(found) == BATCH
    assert names[:BATCH] == [here] * BATCH
    assert all(name.startswith("scan") for name in names[BATCH:]) == has_threads


def test_a_file_that_is_gone_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"1")
    with Reader(2, keeping=True) as reader:
        found = reader.begin([Leaf(name, f"{tmp_path}/{name}", is_link=False) for name in ("there", "gone")])()
    there = found["there"]
    assert isinstance(there, Digested)
    assert there.content == b"1"
    assert isinstance(found["gone"], FileNotFoundError)
