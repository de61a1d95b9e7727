"""What the runtimes share to make prepared environments: where downloads are kept, and what a setup may leave."""

import importlib.util
import os
import re
import shlex
import stat
from pathlib import Path

from ci_common.run_directory.untrusted_files import read_capped
from ci_common.runtime_faults import SetupFailed
from ci_common.spec import ExecutionPlan
from ci_common.times import uptime
from ci_controller.runtime import compiled_modules

LOOK_SECONDS = 1.0
"""How often to check a setup that runs: its time, and the length of its log."""
_MOST_FILES = 10_000
_TAIL_BYTES = 2000


def downloading(place: str) -> dict[str, str]:
    """Return variables that have package managers keep their downloads in `place`, outside of the environment."""
    return {
        "CI_DOWNLOADS": place,
        "UV_CACHE_DIR": f"{place}/uv",
        "UV_LINK_MODE": "copy",
        # Otherwise every job that starts from the environment would compile what it imports, again and again.
        "UV_COMPILE_BYTECODE": "1",
        "PIP_CACHE_DIR": f"{place}/pip",
        "npm_config_cache": f"{place}/npm",
    }


def keeping_compiled(plan: ExecutionPlan) -> bytes:
    """Return shell text after a setup that has later installations from the downloads compile nothing."""
    if not plan.python_environment:
        return b""
    program = shlex.quote(Path(compiled_modules.__file__).read_text(encoding="utf-8"))
    return f'$(command -v python || command -v python3) -I -c {program} "$UV_CACHE_DIR"'.encode()


def find_uv() -> Path | None:
    """Return the program uv that came with this installation, or None if there is none."""
    if importlib.util.find_spec("uv") is None:
        return None
    from uv import find_uv_bin

    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None


def check_running(plan: ExecutionPlan, output: Path, began: float) -> None:
    """Raise SetupFailed if a setup that began at the uptime `began` has run too long, or has written too much."""
    limit = plan.limits.log
    if uptime() > began + plan.timeout:
        raise SetupFailed(f"the setup ran longer than its timeout of {plan.timeout:g} s")
    if limit is not None and output.lstat().st_size > limit:
        raise SetupFailed(f"the setup wrote more than its limit of {limit} bytes")


def check_ended(status: int | None, plan: ExecutionPlan, directory: Path) -> None:
    """Raise SetupFailed if a setup that ended with this exit code leaves nothing that can be kept.

    What it has left in the workspace, which is in `directory`, is part of no environment, so later jobs lack it.
    """
    if status != 0:
        raise SetupFailed(f"the setup ended with exit code {status}: {_tail(directory / 'log')}")
    assert plan.setup is not None, "a setup has run"
    known = {os.path.normpath(os.path.join(plan.directory, name)) for name in plan.setup.inputs}
    workspace, found = directory / "workspace", 0
    if not stat.S_ISDIR(workspace.lstat().st_mode):  # A link would be followed, and the message name what is there.
        raise SetupFailed("the setup replaces the project's directory")
    for folder, folders, files in os.walk(workspace):
        for name in (*files, *(each for each in folders if os.path.islink(os.path.join(folder, each)))):
            path = os.path.relpath(os.path.join(folder, name), workspace)
            found += 1
            if found > _MOST_FILES or (path not in known and "__pycache__" not in path):
                raise SetupFailed(
                    f"the setup writes {path!r} into the project's directory, which is not part of the environment; "
                    "let it write elsewhere, or move that into a step"
                )


def _tail(path: Path) -> str:
    text = (read_capped(path, 1 << 20) or b"")[-_TAIL_BYTES:].decode(errors="replace")
    return re.sub(r"[^ -~\n]", "?", text).strip() or "it wrote nothing"
