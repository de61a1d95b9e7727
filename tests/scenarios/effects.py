"""Every effect of a controller on the world, told as it happens: so that a test can record them, and end it at each.

What counts as an effect is what is not known to be a read: a method that is added to the storage, to a runtime
or to the run directory's module is one without anybody saying so here.
"""

import inspect
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from ci_persistence.storage import Storage

READS = frozenset(
    {
        *(
            "get",
            "get_many",
            "list_jobs",
            "queued",
            "active",
            "unfinished",
            "ping",
            "state",
            "removals",
            "ended",
            "crowded_projects",
            "count_removals",
            "length",
            "metrics",
            "stage_times",
        ),
        *("look", "list_workloads", "has_image", "profile_of", "begin_term", "is_cleared", "is_there", "has_workspace"),
        *("quote", "write_script", "write_setup_script"),
        *("failed_service", "has_services", "service_logs", "failed", "exist", "log", "logs", "keys_of_networks"),
        *("basis_of", "has_environment", "list_environments", "references", "size", "list"),
        *("candidates", "comparison", "look_further", "last_coverage"),
        *("open", "close"),
    }
)
TIMED = frozenset({"renew", "publish"})
"""Effects that come by themselves from time to time, so that one run has more of them than another."""

PASSED_BY = frozenset({"stop"})
"""Effects that not every run has: what ran a job is stopped for good where the engine is late to say that it ended."""

FILE = "file: "
"""What the names of points begin with at which a file is about to be changed."""

_FILE_EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod"})
_DIRECTORY_ARGUMENTS = {"os.mkdir": 2, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.chmod": 2}
"""Which argument of an event is the open directory that a relative path is looked for in."""
_WRITES = re.compile(r"[wax+]")
_UNIQUE = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=-)\d+-\d+$")

Tell = Callable[[str], None]
"""Takes the name of a point, as in `update/2/before`: the second call of `update`, counted from 1."""


class Effects:
    """Tells of the calls that it stands between, reads among them; `is_effect` says which are none."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._calls: Counter[str] = Counter()

    def of(self, target: Any) -> Any:
        """Return what passes everything on to `target`, and tells of its coroutine methods."""
        return _Told(target, self)

    def of_storage(self, storage: Storage) -> Storage:
        """Return stores that pass everything on to those of `storage`, and tell of their coroutine methods."""
        told = copy(storage)
        for name, store in storage.stores().items():
            setattr(told, name, self.of(store))
        return told

    def of_module(self, module: ModuleType) -> None:
        """Tell of the functions that a module defines for others, for the rest of the process's life."""
        for name, function in vars(module).copy().items():
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                setattr(module, name, self._told_function(function))

    def of_files(self, folder: Path) -> None:
        """Tell before every change to a file below `folder`, for the rest of the process's life."""

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _FILE_EVENTS and _changes(event, arguments):
                path = _path_of(event, arguments, folder)
                if path.startswith(f"{folder}/"):
                    name = _UNIQUE.sub("*", Path(path).name)
                    self._tell(self._next(f"{FILE}{event.removeprefix('os.')} {name}") + "/before")

        sys.addaudithook(hook)

    def told(self, method: Any) -> Any:
        @wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            with self._telling(method.__name__):
                return await method(*args, **kwargs)

        return call

    def _told_function(self, function: Any) -> Any:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._telling(function.__name__):
                result = function(*args, **kwargs)
            return self._told_block(function.__name__, result) if isinstance(result, AbstractContextManager) else result

        return call

    @contextmanager
    def _told_block(self, name: str, block: AbstractContextManager[Any]) -> Iterator[Any]:
        with self._telling(f"enter {name}"):
            entered = block.__enter__()
        try:
            yield entered
        finally:
            block.__exit__(*sys.exc_info())

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        point = self._next(name)
        self._tell(f"{point}/before")
        yield
        self._tell(f"{point}/after")

    def _next(self, name: str) -> str:
        self._calls[name] += 1
        return f"{name}/{self._calls[name]}"


class _Told:
    def __init__(self, target: Any, effects: Effects) -> None:
        self._target = target
        self._effects = effects

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        return self._effects.told(attribute) if inspect.iscoroutinefunction(attribute) else attribute


def is_effect(point: str) -> bool:
    """Tell whether something lasting happens there, in every run alike."""
    return point.partition("/")[0] not in READS | TIMED


def _path_of(event: str, arguments: tuple[Any, ...], folder: Path) -> str:
    """Return the whole path of a file that is named by an open directory and its name there."""
    path = f"/proc/self/fd/{arguments[0]}" if isinstance(arguments[0], int) else str(arguments[0])
    if path.startswith("/proc/self/fd/"):
        return os.readlink(path)
    if os.path.isabs(path):
        return path
    place = _DIRECTORY_ARGUMENTS.get(event)
    # How a file is opened by an open directory is not told; in a controller, only the data directory's are.
    return f"{folder}/{path}" if place is None else f"{os.readlink(f'/proc/self/fd/{arguments[place]}')}/{path}"


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event != "open":
        return True
    if isinstance(arguments[0], int):  # What is open already; which number it has differs from run to run.
        return False
    mode, flags = arguments[1], arguments[2]
    return bool(_WRITES.search(mode)) if isinstance(mode, str) else bool(flags & 0o1103)  # O_WRONLY, O_RDWR, O_CREAT
