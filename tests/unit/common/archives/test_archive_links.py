"""Links of archives: where they lead is found out from their texts alone, in a time that grows with those."""

import os
import random
import time
from pathlib import Path

import pytest

from ci_common.archives.members import check_links
from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import InvalidUpload
from tests.helpers.untrusted import Case, link

MANY = UnpackLimits(bytes=2**40, members=100_000, ratio=10**6)
QUICK_SECONDS = 5.0
"""Of a processor, on a machine that does other things. Before, each of these took minutes."""


def check(links: dict[str, str]) -> None:
    check_links(links)


@pytest.mark.parametrize(
    "links",
    [
        {"a": "b"},
        {"a": "a"},
        {"a": "b", "b": "a"},
        {"a": "b", "b": "c", "c": "b"},
        {"deep/er/a": "../../b", "b": "deep"},
        {"a": "."},
        {"d": "..", "e/d": ".."} | {"d": "."},
        {"a/up": "../..", "b/x": "y"} | {"a/up": ".."},
        {f"l{n}": f"l{n + 1}" for n in range(39)},
        {"x": "file/../other", "y": "not/there/../../z"},
        {f"l{n}": "one" for n in range(1000)} | {"one": "d/f"},
    ],
)
def test_links_that_stay_inside(links: dict[str, str]) -> None:
    check(links)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ({"a": "../x"}, "leads out"),
        ({"a/b": "../../x"}, "leads out"),
        ({"up": "a/b", "out": "up/../../.."}, "leads out"),
        ({"d/up": "..", "out": "d/up/../x"}, "leads out"),
        ({"a": "b", "b": "c", "c": "../x"}, "leads out"),
        ({"a": "../workspace/x"}, "leads out"),
        ({"loop": "loop", "out": "loop/../../x"}, "leads to itself"),
        ({"a": "b/x", "b": "a"}, "leads to itself"),
        ({"a": "b", "b": "c/x", "c": "a"}, "leads to itself"),
        ({f"l{n}": f"l{n + 1}" for n in range(900)}, "more than 40 other links"),
        ({"d": ".", "x": "d/" * 50 + "f"}, "more than 40 other links"),
        ({f"l{n}": f"l{n + 1}/" + "x" * 3000 for n in range(30)}, "a path of more than 4096 bytes"),
    ],
)
def test_links_that_are_refused(links: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidUpload, match=message) as refused:
        check(links)
    assert any(repr(name) in str(refused.value) for name in links)


def test_what_is_taken_is_what_the_system_keeps_inside(tmp_path: Path) -> None:
    """Whatever links there are: where all of them are taken, none leads out, for the system nor for Python."""
    chance = random.Random(11)
    names = ["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b"]
    taken = 0
    for number in range(1500):
        root = tmp_path / str(number)
        (root / "d/e").mkdir(parents=True)
        links = {}
        for name in chance.sample(names, chance.randint(1, 5)):
            parts = chance.choices(["a", "b", "c", "d", "e", "..", "..", "."], k=chance.randint(1, 5))
            links[name] = "/".join(parts)
        try:
            check(links)
        except InvalidUpload:
            continue
        taken += 1
        for name, target in links.items():
            os.symlink(target, root / name)
        for name in links:
            assert os.path.realpath(root / name).startswith(f"{os.path.realpath(root)}"), links
    assert taken > 200


@pytest.mark.parametrize(
    "links",
    [
        {f"chain-{n}": f"chain-{n + 1}" for n in range(900)} | {f"to-{n}": "chain-0" for n in range(1000)},
        {"d": "."} | {f"to-{n}": "d/" * 39 + "x" for n in range(20_000)},
        {f"to-{n}": "a/../" * 60 + f"x{n}" for n in range(99_000)},
        {f"to-{n}": f"x{n}" for n in range(99_000)},
        {f"to-{n}": f"to-{n + 1}" for n in range(99_000)},
    ],
    ids=["chains", "hops", "parts", "many", "one long chain"],
)
def test_the_work_grows_with_the_texts(links: dict[str, str]) -> None:
    begun = time.process_time()
    try:
        check(links)
    except InvalidUpload:
        pass
    assert time.process_time() - begun < QUICK_SECONDS


def test_archives_with_hostile_links(case: Case) -> None:
    case.write((link("d"), "."), *((link(f"to-{n}"), "d/" * 2047 + "x") for n in range(2000)))
    begun = time.process_time()
    with pytest.raises(InvalidUpload, match="more than 255 names"):
        case.unpack(MANY)
    assert time.process_time() - begun < QUICK_SECONDS


def test_a_link_to_itself_is_taken(case: Case) -> None:
    case.write((link("a"), "a"), ("b", "x"))
    case.unpack()
    assert os.readlink(case.target / "a") == "a"
