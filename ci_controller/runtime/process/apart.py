"""A program that copies or deletes an environment in the background, at the lowest priority.

    python -I -S apart.py <package root> copy|delete <directory>

`copy` makes a spare copy of an environment, which a later job is given at once. One of an environment runs at a time,
and does nothing where there is a spare copy already. `delete` deletes what a job has left. The first process returns at
once, and what it begins goes on without a controller.
"""

import fcntl
import os
import shutil
import sys

COPY = "copy"
DELETE = "delete"
RECORD = "record.json"
TREE = "tree"
SPARE = "spare"
DRAFT = "spare.new"
_LEAST = 19


def main(root: str, task: str, directory: str) -> None:
    """Do the task. Raises OSError, as where an environment has been removed. What is not deleted is garbage."""
    os.nice(_LEAST)
    if task == DELETE:
        shutil.rmtree(directory, ignore_errors=True)
        return
    sys.path.append(root)
    from ci_common.system.copying import copy_tree

    lock = os.open(f"{directory}/{RECORD}", os.O_RDONLY)
    # One that has just made its copy holds the lock until it has ended, while a job may have taken that copy already.
    fcntl.flock(lock, fcntl.LOCK_EX)
    spare, draft = f"{directory}/{SPARE}", f"{directory}/{DRAFT}"
    if os.path.lexists(spare):
        return
    shutil.rmtree(draft, ignore_errors=True)  # A copy that did not end.
    copy_tree(f"{directory}/{TREE}", draft)
    os.rename(draft, spare)


if __name__ == "__main__":
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        main(*sys.argv[1:])
