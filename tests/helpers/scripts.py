"""Running a job's script with any shell, as a runtime would."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest

from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_controller.run_directory import preparation
from ci_controller.run_directory.preparation import Setup, opened_gate, prepare, write_script
from tests.engine.packages import can_install, install_packages

SHELLS = [path for path in map(Path, ("/bin/dash", "/bin/bash", "/bin/busybox")) if path.exists()]
ENVIRONMENT = {"PATH": os.defpath}


def end_of(run: RunDirectory) -> tuple[int, bool] | None:
    """Return exit status and whether SIGTERM had come, or None; what the kernel counted besides is the machine's."""
    record = run.read_exit()
    return None if record is None else (record.code, record.terminated)


def as_sh(shell: Path, folder: Path) -> Path:
    """Return a link to `shell` named sh, by which each of them behaves as one."""
    link = folder / f"as-{shell.name}" / "sh"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(shell)
    return link


@dataclass
class ScriptRun:
    """One run directory, and the script in it as a child process in a process group of its own."""

    run: RunDirectory
    shell: Path
    plan: ExecutionPlan
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)
    setup: Setup | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def prepare(self) -> None:
        with patch.object(preparation, "SHELL", str(self.shell)):
            text = write_script(self.plan, base=str(self.run.path), environment=self.environment, setup=self.setup)
            prepare(self.run, text, has_console=False)
        (self.run.workspace / self.plan.directory).mkdir(parents=True, exist_ok=True)

    def to_gate(self) -> "subprocess.Popen[bytes]":
        words = [self.shell, self.run.script, self.run.path]
        self.process = subprocess.Popen(words, env={}, process_group=0, stdin=subprocess.DEVNULL)
        self.until(self.run.is_waiting)
        return self.process

    def through_gate(self) -> None:
        with opened_gate(self.run):
            self.until(self.run.is_started)

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def execute(self) -> int:
        """Do all of it, and return the script's exit status."""
        self.prepare()
        self.to_gate()
        self.through_gate()
        return self.end()

    def kill(self) -> None:
        """End what the script has left running, as a runtime would; a signal can miss what is being forked."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert self.process is None or self.process.poll() is None or condition(), "the script has ended early"
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def log(self) -> bytes:
        return self.run.log.read_bytes()


def shell_steps(*texts: str, stop_at_failure: bool = False) -> tuple[PlannedStep, ...]:
    """Return steps of shell text, named by their number from 1."""
    return tuple(
        PlannedStep(name=str(number), shell=text, stop_at_failure=stop_at_failure)
        for number, text in enumerate(texts, start=1)
    )


def plan_of(*steps: PlannedStep, env: dict[str, str] | None = None, directory: str = ".") -> ExecutionPlan:
    """Return a plan with these steps."""
    return ExecutionPlan(image="none", steps=steps, env=env or {}, directory=directory, timeout=60)


# Programs that tests run besides Python.


def provide(*programs: str) -> None:
    """See to it that the programs, named as Debian's packages are, can be run; skip the test where they cannot."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and can_install():
        install_packages(missing)
    elif missing:
        pytest.skip(f"these programs are missing: {', '.join(missing)}")
