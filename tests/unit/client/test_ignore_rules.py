"""What belongs to a project: git's own answer on generated trees, and what differs from git on purpose."""

import os
import re
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_client.errors import PackingError
from ci_client.packing import memory, scan
from ci_client.packing.archive import pack_directory
from ci_client.packing.ignore import IgnoreFile, as_bytes
from ci_client.packing.scan import scan_directory
from ci_client.packing.wildmatch import translate_name, translate_path
from ci_common.manifests.entries import Entry

pytestmark = pytest.mark.slow

GIT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "GIT_CEILING_DIRECTORIES": tempfile.gettempdir(),
}
NAMES = st.sampled_from(["a", "b", "ab", "a.x", "b.x", "foo", "bar", ".hid", "a b", "[a]", "é", "x!", "#c"])
GLOBS = st.sampled_from(
    ["*", "?", "*.x", "a*", "**", "[ab]", "[!a]", "foo", "f?o", "\\#c", "\\[a]", "x\\!", "é", "a b", "b"]
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.one_of(NAMES, GLOBS), min_size=1, max_size=3))
    start = draw(st.sampled_from(["", "", "/"]))
    end = draw(st.sampled_from(["", "", "/", "/**", "  "]))
    return draw(st.sampled_from(["", "", "!"])) + start + "/".join(parts) + end


IGNORE_FILES = st.dictionaries(
    st.sampled_from(["", "foo/", "foo/bar/", "a/", "ab/foo/"]), st.lists(patterns(), min_size=1, max_size=6), max_size=3
)
FILES = st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=15)


def grow(root: Path, files: set[str], ignore: dict[str, list[str]], *, name: str = ".gitignore") -> None:
    for path in sorted(files, key=lambda path: (path.count("/"), path), reverse=True):
        target = root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            pass
    for directory, lines in ignore.items():
        if (root / directory).is_dir():
            (root / directory / name).write_text("\n".join(lines) + "\n")


def packed(root: Path) -> set[str]:
    try:
        archive = pack_directory(root)
    except PackingError:
        return set()
    with archive.file:
        return {name for name in zipfile.ZipFile(archive.file).namelist() if not name.endswith("/")}


def git_files(root: Path) -> set[str]:
    subprocess.run(["git", "init", "-q", "--template=", root], check=True, env=GIT)
    listing = subprocess.run(
        ["git", "-C", root, "ls-files", "-coz", "--exclude-standard"], check=True, env=GIT, capture_output=True
    )
    return {os.fsdecode(name) for name in listing.stdout.split(b"\0") if name}


@settings(max_examples=60, deadline=None)
@given(files=FILES, ignore=IGNORE_FILES, exclude=st.lists(patterns(), max_size=2))
def test_the_same_files_as_git(files: set[str], ignore: dict[str, list[str]], exclude: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        grow(root, files, ignore)
        (root / ".git" / "info").mkdir(parents=True)
        (root / ".git" / "info" / "exclude").write_text("\n".join(exclude))
        assert packed(root) == git_files(root)


@settings(max_examples=20, deadline=None)
@given(files=FILES, ignore=IGNORE_FILES)
def test_ciignore_alone_reads_as_gitignore(files: set[str], ignore: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        grow(root, files, ignore)
        expected = git_files(root)
        for file in root.rglob(".gitignore"):
            file.rename(file.with_name(".ciignore"))
        ours = {name for name in packed(root) if not name.endswith(".ciignore")}
        assert ours == {name for name in expected if not name.endswith(".gitignore")}


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([".gitignore", ".ciignore"]), IGNORE_FILES),
        st.tuples(st.just("exclude"), st.lists(patterns(), max_size=2)),
        st.tuples(st.just("grow"), FILES),
        st.tuples(st.just("remove"), st.sets(NAMES, max_size=3)),
    ),
    min_size=1,
    max_size=4,
)


def change(root: Path, what: str, how: Any) -> None:
    """Change the files of a tree, or its rules."""
    if what == "grow":
        grow(root, how, {})
    elif what == "exclude":
        (root / ".git" / "info").mkdir(parents=True, exist_ok=True)
        (root / ".git" / "info" / "exclude").write_text("\n".join(how))
    else:
        for path in [*root.rglob("*")]:
            if path.name == what or (what == "remove" and path.name in how and path.is_file()):
                path.unlink()
        if what != "remove":
            grow(root, set(), how, name=what)


def scanned(root: Path, cache: Path) -> list[Entry]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        try:
            return scan_directory(root).entries
        except PackingError:
            return []


@pytest.mark.parametrize("few", [0.01, 10], ids=["always remembered", "remembered at first"])
@settings(max_examples=100, deadline=None)
@given(files=FILES, ignore=IGNORE_FILES, changes=CHANGES)
def test_what_is_remembered_does_not_outlive_the_rules(
    few: float, files: set[str], ignore: dict[str, list[str]], changes: list[tuple[str, Any]]
) -> None:
    now = time.time_ns
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan.time, "time_ns", lambda: now() + 10**10)  # So that files count as settled.
        patch.setattr(memory, "_FEW", few)
        root, cache = Path(directory) / "project", Path(directory) / "cache"
        root.mkdir()
        grow(root, files, ignore)
        scanned(root, cache)
        for number, (what, how) in enumerate(changes):
            change(root, what, how)
            assert scanned(root, cache) == scanned(root, Path(directory) / f"unused {number}")


ATOMS = (
    *("a", "b", "x", "A", "1", ".", " ", "-", "]", "^", "!", ":", "é", "\t", "\v"),
    *("*", "*", "?", "**", "***", "\\ ", "\\a", "\\]", "\\*", "\\\\", "\\", "\\/"),
    *("[[:alpha:]]", "[[:digit:]]", "[![:upper:]]", "[[:space:]x]", "[[:punct:]]", "[[:foo:]]", "[[:alpha]", "[[:]]"),
    *("[!a]", "[^a]", "[]a]", "[!]a]", "[^]-a]", "[a-x]", "[x-a]", "[a-]", "[-a]", "[\\]a]", "[a\\-x]", "[\\a-x]"),
    *("[", "[a", "[!", "[]", "[a-", "[[:alpha:", "[a/b]", "[[:alpha:]-x]", "[a-[:digit:]]", "[--1]", "[é]"),
)
ODD_NAMES = st.lists(
    st.sampled_from([atom for atom in ATOMS if len(atom) == 1 and atom not in "*?[:\t\v"]), min_size=1, max_size=3
).map("".join)
# Git of 2026 takes a `**` behind plain characters, as in `a**/b`, for a `*`; before, it was one.
VARIES_WITH_GIT = re.compile(r"!?/?[^*?\[\\]*[^*?\[\\/]\*\*")


@st.composite
def odd_patterns(draw: st.DrawFn) -> str:
    parts = draw(
        st.lists(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4).map("".join), min_size=1, max_size=3)
    )
    start, end = (
        draw(st.sampled_from(["", "!", "/", "!/", "**/", "#"])),
        draw(st.sampled_from(["", "", "/", " ", "/**"])),
    )
    return start + "/".join(parts) + end


@settings(max_examples=120, deadline=None)
@given(
    files=st.sets(st.lists(ODD_NAMES, min_size=1, max_size=3).map("/".join), min_size=4, max_size=20),
    lines=st.lists(odd_patterns().filter(lambda line: not VARIES_WITH_GIT.match(line)), min_size=1, max_size=5),
)
def test_sets_classes_and_escapes_as_in_git(files: set[str], lines: list[str]) -> None:
    files = {path for path in files if not {".", ".."} & set(path.split("/"))}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        grow(root, files, {"": lines})
        assert packed(root) == git_files(root)


CLASSES = ("alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit")


@pytest.mark.parametrize("pattern", [*(f"[[:{name}:]]" for name in CLASSES), "[!a-\xff]", "?", "[\x80-\xc3]"])
def test_every_byte_is_in_the_same_classes_as_in_git(tmp_path: Path, pattern: str) -> None:
    raw = pattern.encode("latin-1")
    (tmp_path / ".gitignore").write_bytes(raw)
    names = [os.fsdecode(bytes([code])) for code in range(1, 256) if code not in b"/."]
    for name in names:
        (tmp_path / name).touch()
    rules = IgnoreFile.of_bytes(raw)
    kept = {name for name in names if not rules.verdict(as_bytes(name), as_bytes(name), is_directory=False)}
    assert kept == git_files(tmp_path) - {".gitignore"}


def test_stars_behind_plain_characters(tmp_path: Path) -> None:
    """As in the releases of git that people have; see VARIES_WITH_GIT."""
    expression = translate_path("a**/b")
    assert expression is not None
    assert [path for path in ("ab", "a/b", "ax/b", "a/x/b", "b") if re.fullmatch(expression, path)] == [
        *("ab", "a/b", "ax/b", "a/x/b")
    ]


@pytest.mark.parametrize(
    ("translate", "pattern", "text"),
    [
        (translate_name, "*a" * 60 + "b", "a" * 255),
        (translate_path, "**/a/" * 60 + "b", "a/" * 1000),
        (translate_path, "/" + "*a*" * 30 + "/" + "**/*a*/" * 20 + "b", "aaaa/" * 400),
    ],
)
def test_no_pattern_takes_long(translate: Callable[[str], str | None], pattern: str, text: str) -> None:
    expression = translate(pattern)
    assert expression is not None
    begun = time.process_time()
    assert not re.fullmatch(expression, text, re.DOTALL)
    assert time.process_time() - begun < 1


def test_nothing_is_said_about_odd_patterns(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    tree(tmp_path, "core.1", "core.c", "a.py")
    (tmp_path / ".gitignore").write_text("core.[[:digit:]]*\n[[:foo:]]*\n[[a]]\n[a--b]\n[a||b]\n[a&&b]\n")
    assert packed(tmp_path) == {".gitignore", "core.c", "a.py"}
    assert list(recwarn) == []


def tree(root: Path, *files: str, **contents: str) -> None:
    for path in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")


def test_ciignore_wins_over_gitignore(tmp_path: Path) -> None:
    tree(tmp_path, "dist/a.whl", "data.bin", "keep.log", "src/deep/x.log", "src/deep/y.log")
    (tmp_path / ".gitignore").write_text("dist/\n*.log\n")
    (tmp_path / ".ciignore").write_text("data.bin\n!dist/\n!*.log\nsrc/deep/x.log\n.*ignore\n")
    assert packed(tmp_path) == {"dist/a.whl", "keep.log", "src/deep/y.log"}


def test_what_is_always_left_out_and_how_it_comes_back(tmp_path: Path) -> None:
    left_out = [".git/config", "__pycache__/x.pyc", ".tox/x", ".mypy_cache/x", "ci_jobs.db", "ci_jobs.data/jobs/x"]
    tree(tmp_path, "a.py", "env with any name/pyvenv.cfg", "env with any name/lib/x.py", "pkg.egg-info/PKG-INFO")
    tree(tmp_path, "node_modules/x.js", *left_out, *(f"sub/{path}" for path in left_out))
    rest = {"a.py", "pkg.egg-info/PKG-INFO", "node_modules/x.js"}
    assert packed(tmp_path) == rest
    (tmp_path / ".gitignore").write_text("!*\n!*/\n!.git/\n")
    assert packed(tmp_path) == rest | {".gitignore"}
    (tmp_path / ".ciignore").write_text("!*\n!*/\n!.git/\n!/env with any name\n")
    assert packed(tmp_path) - rest == {
        *(".gitignore", ".ciignore", ".git/config", "sub/.git/config"),
        *("env with any name/pyvenv.cfg", "env with any name/lib/x.py"),
    }


@pytest.mark.parametrize("place", [".hidden/project", "build/__pycache__/project", ".git/project"])
def test_where_the_project_lies_does_not_matter(tmp_path: Path, place: str) -> None:
    (tmp_path / ".gitignore").write_text("*\n")
    root = tmp_path / place
    tree(root, "a.py", "build/x", "pyvenv.cfg")
    assert packed(root) == {"a.py", "build/x", "pyvenv.cfg"}


def test_rules_in_worktrees_and_submodules(tmp_path: Path) -> None:
    main = tmp_path / "main"
    main.mkdir()
    git = ["git", "-C", str(main), "-c", "user.name=n", "-c", "user.email=e@x"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"], ["worktree", "add", "-q", "../tree"]):
        subprocess.run([*git, *command], check=True, env=GIT, capture_output=True)
    (main / ".git" / "info" / "exclude").write_text("*.local\n")
    tree(tmp_path / "tree", "a.py", "b.local")
    assert packed(tmp_path / "tree") == {"a.py"}


def test_odd_ignore_files(tmp_path: Path) -> None:
    tree(tmp_path, "a.py", "b.tmp", "c.tmp", "sub/.gitignore/x")
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbfb.tmp\r\n\xff\n[\n!\n/\n\\\nc.tmp")
    assert packed(tmp_path) == {".gitignore", "a.py", "sub/.gitignore/x"}
