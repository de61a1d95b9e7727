"""Patterns for paths."""

import pytest

from ci_common.parsing.globs import NOWHERE, Glob


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("dist/*.whl", ["dist/a.whl", "dist/.whl"], ["dist/a.tar", "dist/sub/a.whl", "a.whl"]),
        ("dist", ["dist", "dist/a", "dist/sub/a"], ["distant", "src/dist"]),
        ("./dist//", ["dist/a"], ["src/dist"]),
        ("**/*.log", ["a.log", "x/a.log", "x/y/z/a.log"], ["a.txt", "a.log.gz"]),
        ("src/**/test_?.py", ["src/test_a.py", "src/x/y/test_b.py"], ["src/test_ab.py", "test_a.py"]),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/z/c", "a/b/b/c/d"], ["a/c", "a/x/c"]),
        ("**", ["a", "a/b"], []),
        ("[a-c]x[!0-9]", ["axb", "bx."], ["dxb", "ax1"]),
        ("a*b*c*d*e*f*g*h*i*j*k*", ["abcdefghijk"], ["a" * 500]),
    ],
)
def test_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    glob = Glob(pattern)
    assert [path for path in matching if not glob.matches(path)] == []
    assert [path for path in others if glob.matches(path)] == []


def test_a_walk_knows_where_nothing_can_match() -> None:
    glob = Glob("dist/*/x")
    assert glob.step(glob.start, "src") is NOWHERE
    assert glob.step(glob.step(glob.step(glob.start, "dist"), "a"), "y") is NOWHERE


@pytest.mark.parametrize("pattern", ["", "/etc/passwd", "a/../b", "..", "a**", "a/**b", "x/" * 51 + "y", "x" * 1001])
def test_refuses_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|absolute|has \.\."):
        Glob(pattern)
