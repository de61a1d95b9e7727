"""Which changed lines are not covered, in real git repositories."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ci_client.changed_lines import MOST_RANGES, CannotCompare, Uncovered, changed_lines, uncovered

OLD = "".join(f"line {number}\n" for number in range(1, 21))
ODD = 'ä "quoted"\tname.py'


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", directory, *identity, *arguments], check=True, capture_output=True)


def commit(directory: Path) -> None:
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "--message", "x")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a repository, on a branch that has left main."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    project = tmp_path / "repository" / "project"
    project.mkdir(parents=True)
    git(project, "init", "--quiet", "--initial-branch=main", "..")
    for name in ("a.py", ODD):
        (project / name).write_text(OLD)
    commit(project)
    git(project, "checkout", "--quiet", "-b", "branch")
    return project


def replaced(project: Path, *lines: int) -> None:
    text = OLD.splitlines(keepends=True)
    for line in lines:
        text[line - 1] = "changed\n"
    (project / "a.py").write_text("".join(text))


def judged(
    project: Path, missing: dict[str, list[list[int]]], *, had: dict[str, str] | None = None, base: str | None = None
) -> Uncovered:
    """Return what is uncovered where the job had the files that the project has, but for those in `had`."""
    files = [
        {"path": str(path.relative_to(project)), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in project.rglob("*")
        if path.is_file()
    ]
    files = [file | {"sha256": (had or {}).get(file["path"], file["sha256"])} for file in files]
    coverage: dict[str, Any] = {"files": [{"path": name, "missing": ranges} for name, ranges in missing.items()]}
    return uncovered(changed_lines(project, base), project, coverage, files)


def test_lines_that_are_committed_or_not_or_in_new_files(project: Path) -> None:
    replaced(project, 2, 3, 4)
    commit(project)
    replaced(project, 2, 3, 4, 10, 15)
    (project / "new.py").write_text("one\ntwo\nthree")
    found = judged(project, {"a.py": [[4, 12], [20, 20]], "new.py": [[3, 3]]})
    assert found.lines == {"a.py": [(4, 4), (10, 10)], "new.py": [(3, 3)]}
    assert found.count == 3
    assert found.base.startswith("main (")
    assert judged(project, {"a.py": [[4, 12]]}, base="HEAD").lines == {"a.py": [(10, 10)]}


def test_what_main_has_got_since_is_no_change_of_the_branch(project: Path) -> None:
    git(project, "checkout", "--quiet", "main")
    (project / ODD).write_text("all of it is new\n")
    commit(project)
    git(project, "checkout", "--quiet", "branch")
    replaced(project, 7)
    assert changed_lines(project, None).lines == {"a.py": [(7, 7)]}


def test_what_git_quotes_has_its_own_name(project: Path) -> None:
    (project / ODD).write_text(OLD + "more\n")
    assert judged(project, {ODD: [[21, 21]]}).lines == {ODD: [(21, 21)]}


def test_settings_of_git_do_not_change_what_is_found(project: Path) -> None:
    for setting, value in {"diff.noprefix": "true", "diff.external": "false", "color.ui": "always"}.items():
        git(project, "config", setting, value)
    replaced(project, 1)
    assert changed_lines(project, None).lines == {"a.py": [(1, 1)]}


def test_only_the_same_files_are_compared(project: Path) -> None:
    replaced(project, 5)
    (project / "README.md").write_text("x\n")
    other = judged(project, {"a.py": [[5, 5]]}, had={"a.py": "another digest"})
    assert (other.lines, other.other, other.unknown) == ({}, ["a.py"], ["README.md"])
    same = judged(project, {"a.py": [[6, 6]]})
    assert (same.lines, same.covered, same.other) == ({}, ["a.py"], [])
    without = uncovered(changed_lines(project, None), project, {"files": [{"path": "a.py", "missing": [[5, 5]]}]}, None)
    assert (without.lines, without.is_checked) == ({"a.py": [(5, 5)]}, False)


def test_a_report_of_tests_that_ran_in_a_folder(project: Path) -> None:
    (project / "src").mkdir()
    (project / "src" / "b.py").write_text("x\n")
    assert judged(project, {"b.py": [[1, 1]]}).lines == {"src/b.py": [(1, 1)]}
    assert judged(project, {"c/b.py": [[1, 1]]}).unknown == ["src/b.py"]


def test_behind_the_last_range_that_is_kept_nothing_is_known(project: Path) -> None:
    (project / "new.py").write_text("x\n" * (3 * MOST_RANGES))
    found = judged(project, {"new.py": [[2 * number, 2 * number] for number in range(1, MOST_RANGES + 1)]})
    assert (found.count, found.unknown) == (MOST_RANGES, ["new.py"])


def test_says_why_nothing_can_be_compared(project: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotCompare, match="'nowhere' names no commit"):
        changed_lines(project, "nowhere")
    with pytest.raises(CannotCompare, match="'--output=x' names no commit"):
        changed_lines(project, "--output=x")
    with pytest.raises(CannotCompare, match="in no git repository"):
        changed_lines(tmp_path, None)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(CannotCompare, match="no commit yet"):
        changed_lines(tmp_path, None)
