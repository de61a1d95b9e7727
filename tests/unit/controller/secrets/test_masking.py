"""A log that has ended is masked in its file, as a whole or not at all."""

import errno
import hashlib
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from ci_common.errors import NoRoom
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.sealing import MaskKeeper
from ci_common.system.trees import Folder
from ci_controller.secrets.masking import finished_log
from tests.helpers.jobs import NOON

SECRET = "correct-horse-battery-staple"
HIDDEN = "*" * len(SECRET)
JOB = Job(id="job", type="container", state=State.RUNNING, submit_time=NOON, plan={"secrets": [{"name": "A"}]})


@pytest.fixture
def keeper(tmp_path: Path) -> MaskKeeper:
    return MaskKeeper(KeyRing(tmp_path / "ring"))


@pytest.fixture
def run(tmp_path: Path, keeper: MaskKeeper) -> RunDirectory:
    run = RunDirectory(tmp_path / "1")
    run.path.mkdir()
    run.masks.write_text(keeper.seal([SECRET], JOB.id, 1))
    return run


def test_the_file_becomes_what_was_shown(run: RunDirectory, keeper: MaskKeeper) -> None:
    run.log.write_text(f"a {SECRET}\n" * 60_000 + "::add-mask::another-value-1\nanother-value-1")
    before = os.open(run.log, os.O_RDONLY)
    expected = f"a {HIDDEN}\n" * 60_000 + "::add-mask::***************\n***************"
    for _ in range(2):
        _, size, digest = finished_log(JOB, run, keeper)
        assert run.log.read_text() == expected
        assert (size, digest) == (len(expected), hashlib.sha256(expected.encode()).hexdigest())
    assert os.pread(before, 30, 0).decode() == f"a {SECRET}", "who has it open reads what was there, and masks it"
    os.close(before)
    assert sorted(path.name for path in run.path.iterdir()) == ["log"]


def test_a_log_without_secrets_is_left_alone(run: RunDirectory, keeper: MaskKeeper) -> None:
    run.log.write_text("nothing\n")
    inode = run.log.stat().st_ino
    assert finished_log(JOB, run, keeper)[1:] == (8, hashlib.sha256(b"nothing\n").hexdigest())
    assert run.log.stat().st_ino == inode
    run.log.unlink()
    assert finished_log(JOB, run, keeper)[1:] == (0, hashlib.sha256().hexdigest())


def test_without_its_key_all_of_a_log_is_masked(run: RunDirectory, keeper: MaskKeeper) -> None:
    run.log.write_text(f"a {SECRET}\nb\n")
    keeper.ring.path.unlink()
    finished_log(JOB, run, keeper)
    assert run.log.read_text() == "*" * (2 + len(SECRET)) + "\n*\n"


def test_a_full_disk_leaves_the_log_to_be_masked_again(run: RunDirectory, keeper: MaskKeeper) -> None:
    text = f"a {SECRET}\n"
    run.log.write_text(text)
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch.object(Folder, "create", side_effect=full), pytest.raises(NoRoom, match="to mask them"):
        finished_log(JOB, run, keeper)
    assert run.log.read_text() == text
    with patch.object(Folder, "move", side_effect=full), pytest.raises(NoRoom):
        finished_log(JOB, run, keeper)
    assert sorted(path.name for path in run.path.iterdir()) == ["log"]
    finished_log(JOB, run, keeper)
    assert run.log.read_text() == f"a {HIDDEN}\n"
