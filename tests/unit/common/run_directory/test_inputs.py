"""A copy of a setup's inputs has them and nothing else, and is refused if they are not what they were."""

import os
from pathlib import Path

import pytest

from ci_common.errors import InvalidRequest
from ci_common.run_directory import inputs
from ci_common.run_directory.inputs import InputsChanged, copy_inputs, digest_of, find_inputs

NAMES = ("a.txt", "b/c.sh")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "b").mkdir(parents=True)
    (directory / "a.txt").write_text("a")
    (directory / "b" / "c.sh").write_text("c")
    (directory / "b" / "c.sh").chmod(0o755)
    (directory / "other.txt").write_text("secret")
    return directory


def test_a_copy_has_the_inputs_alone(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copy_inputs(project, NAMES, target, digest_of(project, NAMES))
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == [*NAMES]
    assert (target / "b" / "c.sh").stat().st_mode & 0o111 == 0o111
    assert digest_of(target, NAMES) == digest_of(project, NAMES)


@pytest.mark.parametrize("how", ["content", "mode", "gone", "fifo"])
def test_inputs_that_have_changed_are_not_copied(project: Path, tmp_path: Path, how: str) -> None:
    digest = digest_of(project, NAMES)
    path = project / "a.txt"
    if how == "content":
        path.write_text("b")
    elif how == "mode":
        path.chmod(0o755)
    else:
        path.unlink()
        if how == "fifo":
            os.mkfifo(path)
    with pytest.raises(InputsChanged):
        copy_inputs(project, NAMES, tmp_path / "copy", digest)


def test_names_and_contents_cannot_be_confused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("bc")
    (tmp_path / "ab").write_text("c")
    assert digest_of(tmp_path, ["a"]) != digest_of(tmp_path, ["ab"])


def test_too_many_and_too_large(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_BYTES", 1)
    with pytest.raises(InvalidRequest, match="together"):
        digest_of(project, NAMES)
    monkeypatch.setattr(inputs, "MAX_FILES", 1)
    with pytest.raises(InvalidRequest, match="more than 1"):
        find_inputs(project, ["**"], root=project)
