"""Prepared environments as directories: what a setup wrote into `$CI_ENV`, of which each job gets a copy of its own.

<data>/trees/<id>/
  tree/         what the setup made, which nothing changes any more
  record.json   written once it is whole: where it was made, and which of its files name that place
  spare/        a whole copy for the next job, which takes it by renaming it; spare.new while it is made
<data>/trees/.used-*/ the copies of jobs that have ended, while they are deleted

A virtual environment names its own place in its scripts. A copy has another place, so those names are replaced. Both
have the same length (for the first nine attempts of a job), so that they can be replaced in any file.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ci_common
from ci_common.jobs import new_job_id
from ci_common.run_directory.attributes import make_place_of_trees
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import ImageNotFound, SetupFailed
from ci_common.system.copying import copy_tree
from ci_common.system.trees import Folder, delete_tree
from ci_controller.runtime.process import apart
from ci_controller.runtime.process.apart import COPY, DELETE, RECORD, SPARE, TREE

COMPILED = ".pyc"
"""Files that name their place only for tracebacks, where Python itself corrects it."""
_COPIES = 2
"""How often an environment is there: once, and a spare copy."""
_BLOCK = 512
_USED = ".used-"
"""What the names of copies begin with that jobs have left, until they are deleted."""


@dataclass(frozen=True, slots=True)
class EnvironmentTrees:
    """The directories of all environments of one data directory. All methods raise OSError."""

    data: DataDirectory

    def place(self, name: str) -> Path:
        """Return where the setup of a new environment writes."""
        return self._directory(name) / TREE

    def make_place(self, name: str) -> None:
        """Make the directory into which the setup of a new environment writes."""
        make_place_of_trees(self.data.trees)
        make_place_of_trees(self._directory(name))  # One spare copy is made after another, and deleted.
        self.place(name).mkdir(mode=0o700)

    def keep(self, name: str) -> int:
        """Keep what a setup wrote, which has ended; return its size in bytes. Raises SetupFailed if it is nothing."""
        tree = self.place(name)
        if not any(tree.iterdir()):
            raise SetupFailed(
                "the setup writes nothing into the directory $CI_ENV, and where jobs run as processes nothing else is "
                "part of the environment"
            )
        size, naming = 0, []
        for path, state in _files(tree):
            size += state.st_blocks * _BLOCK
            if _names(path, state, os.fsencode(tree)):
                naming.append(os.path.relpath(path, tree))
        text = json.dumps({"place": str(tree), "naming": naming})
        draft = self._directory(name) / f"{RECORD}.new"
        with draft.open("w") as file:
            file.write(text)
        os.sync()  # Thousands of files: one call is quicker than one for each.
        draft.rename(self._directory(name) / RECORD)
        return size * _COPIES

    def give(self, name: str, run: RunDirectory) -> None:
        """Give an attempt whose code has not begun its copy. May be repeated. Raises ImageNotFound if it is gone."""
        target, directory = run.environment.absolute(), self._directory(name)
        try:
            record = json.loads((directory / RECORD).read_bytes())
            if not target.exists():
                self._copy(directory, target)
        except FileNotFoundError as exc:
            raise ImageNotFound(f"the prepared environment has been removed: {exc}") from exc
        for each in record["naming"]:
            _rename_place(target / each, os.fsencode(record["place"]), os.fsencode(target))

    @staticmethod
    def _copy(directory: Path, target: Path) -> None:
        try:
            (directory / SPARE).rename(target)
        except FileNotFoundError:
            draft = target.with_name(f"{target.name}.new")
            delete_tree(draft)
            copy_tree(str(directory / TREE), str(draft))
            draft.rename(target)

    def make_spare(self, name: str) -> None:
        """Have a spare copy made in the background, unless there is one."""
        _begin(COPY, self._directory(name))

    def discard(self, path: Path) -> None:
        """Take away an attempt's copy, which no process uses any more, and have it deleted in the background."""
        name = f"{_USED}{new_job_id()}"
        make_place_of_trees(self.data.trees)
        with Folder.opened(path.parent) as run, Folder.opened(self.data.trees) as trees:
            run.move(path.name, trees, name)
        _begin(DELETE, self._directory(name))

    def has(self, name: str) -> bool:
        """Return whether an environment is there as a whole."""
        return (self._directory(name) / RECORD).is_file()

    def names(self) -> set[str]:
        """Return the names of all, also of those that are not whole."""
        try:
            return set(os.listdir(self.data.trees))
        except FileNotFoundError:
            return set()

    def remove(self, name: str) -> None:
        """Remove an environment, if there is one: no job starts from it any more, and then its files go."""
        (self._directory(name) / RECORD).unlink(missing_ok=True)
        delete_tree(self._directory(name))

    def _directory(self, name: str) -> Path:
        return self.data.trees / name


def _begin(task: str, directory: Path) -> None:
    root = Path(ci_common.__file__).parents[1]
    subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-S", apart.__file__, str(root), task, str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
        check=False,
    )


def _files(tree: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            yield path, os.lstat(path)


def _names(path: str, state: os.stat_result, place: bytes) -> bool:
    """Return whether a file has the place of its environment in it."""
    if stat.S_ISLNK(state.st_mode):
        return place in os.fsencode(os.readlink(path))
    if not stat.S_ISREG(state.st_mode) or path.endswith(COMPILED):
        return False
    with open(path, "rb") as file:
        return place in file.read()


def _rename_place(path: Path, old: bytes, new: bytes) -> None:
    """Replace the place of an environment in one file of a copy. May be repeated."""
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        before = os.fsencode(os.readlink(path))
        if old in before:
            path.unlink()
            path.symlink_to(os.fsdecode(before.replace(old, new)))
        return
    content = path.read_bytes()
    if old not in content or (b"\0" in content and len(old) != len(new)):
        return
    # Written beside it, so that a death in between leaves it whole: as after another one, this is done again.
    draft = path.with_name(f"{path.name}.ci-new")
    draft.write_bytes(content.replace(old, new))
    os.chmod(draft, stat.S_IMODE(state.st_mode))
    os.utime(draft, ns=(state.st_atime_ns, state.st_mtime_ns))
    draft.rename(path)
