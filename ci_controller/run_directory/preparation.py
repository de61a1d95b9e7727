"""Prepares a run directory, with the script of its job, and opens its gate. `ci_common.run_directory.layout` reads it.

A job is two POSIX sh scripts: `GATE_SCRIPT`, the same for all jobs, which waits, and the job's own. They need nothing
but /bin/sh: everything they do themselves is done by builtins, so they run in an image that holds a shell and the job's
own program and nothing else. Text that comes from users stands in single quotes, byte for byte. The job's own script is
read only once the gate has opened, so what waits there need not know yet which job it will be.

The gate script promises the controller: if its job has been through the gate before, it ends at once. Otherwise it
makes the mark `waiting`, blocks until `go` is written into `gate`, makes the mark `started`, and then runs the steps
with their output in `log`; after one that fails, those whose condition wants it. It writes `exit` at its end, also if
no further process can be started.

No signal that can be caught ends it behind the gate: a job's own signals reach it, too, by its process group and as
`$PPID`. The mark `stopping`, which is made before a stop is signalled, says whether the job is to stop; no step begins
once the mark is there. Outside of containers, SIGTERM at the gate ends the script. In a container it is the first
process, which no process in there can kill or stop, and the word `stop` in the FIFO of that name has SIGTERM sent to
all others, after which the mark `signalled` is made.

Alone in a container, it adds to `exit` what the kernel refused the job, and whether it is the last of the job's
processes, so that nothing writes into the log any more. If it is, and the job was not stopped, it stays until `gate` is
opened once more: the engine has a lot to do once it has gone, and the verdict is to be out by then.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ci_common.run_directory.layout import KEPT, RunDirectory
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.spec_parts.reports import VARIABLE
from ci_common.system.trees import Folder
from ci_controller.run_directory.cache_script import PlacedCache, write_beginning
from ci_controller.run_directory.gate_script import GATE_SCRIPT
from ci_controller.run_directory.quoting import encode, quote
from ci_controller.run_directory.secret_script import READ

SHELL = "/bin/sh"
"""What runs the steps. The script itself is run by whatever the runtime runs it with, which is the same."""
_LONGEST_WORD = 64 * 1024
"""Bytes of shell text that are handed to a shell as a word; Linux takes 128 KiB at most, less with a small stack."""
_STEP_GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL for a step that has timed out, in jobs that name no `stop_grace`."""

_TRUST = rb"""
# Git refuses a directory of another user's, as an upload is where its container has another user than the server. The
# settings stand behind those that are there, and only where they are needed.
__ci_count=${GIT_CONFIG_COUNT:-0}
[ -O . ] 2>/dev/null || case $__ci_count in 0|[1-9]|[1-9][0-9])
    for __ci_value in "$PWD" "$PWD/*"; do
        command export "GIT_CONFIG_KEY_$__ci_count=safe.directory" "GIT_CONFIG_VALUE_$__ci_count=$__ci_value"
        __ci_count=$((__ci_count + 1))
    done
    command export "GIT_CONFIG_COUNT=$__ci_count" ;;
esac
"""

_STEP = b"""
! __ci_is_stopped || __ci_finish "${__ci_failed:-143}"
if __ci_begin_step %(number)d %(condition)s; then
%(watch)s( exec 9>&-; ! __ci_is_stopped || exit 143; %(body)s )
__ci_end_step %(number)d "$?" %(tolerated)s
fi
"""
_WATCH = b"__ci_watch_step %s %s %d && "


@dataclass(frozen=True, slots=True)
class Setup:
    """What a job's code does before its first step, without being one: a program that must succeed, then variables.

    If the program fails, the job ends with its exit status. Without words, there is none.
    """

    program: tuple[str, ...]
    environment: Mapping[str, str]


def write_script(
    plan: ExecutionPlan,
    *,
    base: str,
    environment: Mapping[str, str],
    setup: Setup | None = None,
    skipped: int = 0,
    note: str = "",
    caches: Sequence[PlacedCache] = (),
    most_cache_bytes: int = 0,
) -> bytes:
    """Return the script of a job, which `GATE_SCRIPT` reads.

    `base` is the run directory as the job sees it; `environment` the runtime's variables, which the plan's override.
    The first `skipped` steps do nothing. `note` is a line for the log of the first step. Of `caches`, those with more
    than `most_cache_bytes` are not kept.
    """
    parts = [*_parts(plan, base=base, environment=environment, setup=setup)]
    end = b"__ci_end" if caches else b"__ci_finish"
    if caches:
        parts.append(write_beginning(caches, base=os.fsencode(base), most_bytes=most_cache_bytes))
    return b"".join([*parts, *_steps(plan, skipped, note), b'\n%s "${__ci_failed:-0}"\n' % end])


def write_setup_script(
    plan: ExecutionPlan, *, base: str, environment: Mapping[str, str], setup: Setup | None = None, then: bytes = b""
) -> bytes:
    """Return the script that runs the setup of `plan` apart from its job, as the job would run it, and `then` after it.

    `then` is shell text. Its exit code does not matter.
    """
    assert plan.setup is not None, "the caller has checked that there is one"
    lines = [b"exec </dev/null >>%s 2>&1\n" % quote(f"{base}/log")]
    lines += _exports({**environment, **plan.env})
    lines.append(b"cd -- %s || exit 1\n" % quote(b"%s/workspace/%s" % (os.fsencode(base), encode(plan.directory))))
    lines.append(_TRUST)
    lines += _before_steps(setup, failing=b"exit")
    lines += [b'( %s ) || exit "$?"\n' % _body(step) for step in plan.steps[: plan.setup.steps]]
    lines += [b"( %s\n) >/dev/null 2>&1 || :\n" % then] if then else []
    return b"".join(lines)


def _parts(plan: ExecutionPlan, *, base: str, environment: Mapping[str, str], setup: Setup | None) -> Iterator[bytes]:
    run = RunDirectory(Path(base))
    said = {"CI_OUTPUT": str(run.outputs), "CI_SUMMARY": str(run.summary), VARIABLE: str(run.reports)}
    yield from _exports({**environment, **plan.env, **said})
    yield b"cd -- %s || __ci_finish 1\n" % quote(b"%s/workspace/%s" % (os.fsencode(base), encode(plan.directory)))
    yield _TRUST
    yield from _before_steps(setup, failing=b"__ci_finish")


def _before_steps(setup: Setup | None, *, failing: bytes) -> Iterator[bytes]:
    if setup is not None:
        if setup.program:
            yield b'( exec %s ) || %s "$?"\n' % (_words(setup.program), failing)
        yield from _exports(setup.environment)


def _steps(plan: ExecutionPlan, skipped: int, note: str) -> Iterator[bytes]:
    grace = _seconds(_STEP_GRACE if plan.stop_grace is None else plan.stop_grace)
    said = b"printf '%%s\\n' %s" % quote(note)
    before = 0 if plan.setup is None else plan.setup.steps
    for number, step in enumerate(plan.steps):
        if number == before and plan.secrets:  # The setup may be kept, so it gets none.
            yield READ
        if number == before and plan.untrusted:
            yield from _exports({"CI_UNTRUSTED": "true"})
        body = b":" if number < skipped else _setting(step) + _body(step)
        if number == 0 and note:
            body = said if skipped else b"%s; %s" % (said, body)
        yield _STEP % {
            b"number": number,
            b"condition": step.condition.encode(),
            b"watch": b"" if step.timeout is None else _WATCH % (_seconds(step.timeout), grace, number),
            b"body": body,
            b"tolerated": b"yes" if step.continue_on_error else b"no",
        }


def _setting(step: PlannedStep) -> bytes:
    """Return what comes before the text of a step: its variables and its directory."""
    directory = b"" if step.directory is None else b"cd -- %s || exit 1\n" % quote(step.directory)
    return b"".join(_exports(step.env)) + directory


def _seconds(seconds: float) -> bytes:
    """Return what every `sleep` takes: a whole number where it is one."""
    return b"%d" % seconds if seconds == int(seconds) else b"%.3f" % seconds


def _exports(variables: Mapping[str, str]) -> Iterator[bytes]:
    for name, value in variables.items():
        # `command`, because a plain export that fails ends the shell: bash does not let UID or PPID be set.
        yield b"command export %s=%s\n" % (name.encode("ascii"), quote(value))


def _body(step: PlannedStep) -> bytes:
    if step.argv is not None:
        return b"exec " + _words(step.argv)
    assert step.shell is not None, "a planned step has either argv or shell"
    text = quote(step.shell)
    if len(text) > _LONGEST_WORD:
        return (b"set -e; " if step.stop_at_failure else b"") + b"eval " + text
    # A shell of its own, as people expect it: `$$` and `$0` are its own, and `kill $$` does not hit this script.
    return b"exec %s %s -- %s" % (SHELL.encode(), b"-ec" if step.stop_at_failure else b"-c", text)


def _words(words: tuple[str, ...]) -> bytes:
    return b" ".join(quote(word) for word in words)


def prepare(run: RunDirectory, script: bytes, *, has_console: bool, secrets: bytes | None = None) -> None:
    """Put all that the job of `script` needs into the run directory. May be repeated until the workload is started.

    `has_console` as the runtime says it. A workload that ended before its gate may have left anything in the place of
    these files, and the engine follows a link that it is to mount: what is not of the right kind is made again.
    """
    prepare_gate(run, has_console=has_console)
    with Folder.opened(run.path) as folder:
        folder.make_folder(run.workspace.name)
        folder.make_folder(run.reports.name)
        if secrets is not None:
            give_secrets(folder, run, secrets)
        folder.write(run.job.name, script)


def give_secrets(folder: Folder, run: RunDirectory, secrets: bytes, *, for_everyone: bool = False) -> None:
    """Put the secrets into the run directory that is open as `folder`, before its gate opens."""
    folder.make_folder(run.secret_files.name)
    folder.write(run.secrets.name, secrets, mode=0o600, for_everyone=for_everyone)


def prepare_gate(run: RunDirectory, *, has_console: bool) -> None:
    """Put into the run directory all that a workload needs to wait at its gate. May be repeated until it is started."""
    run.path.mkdir(parents=True, exist_ok=True)
    with Folder.opened(run.path) as folder:
        for fifo in (run.gate, run.console, run.stop) if has_console else (run.gate,):
            folder.make_fifo(fifo.name)
        for file in (run.log, run.outputs, run.summary):
            folder.make_file(file.name)
        folder.write(run.script.name, GATE_SCRIPT)


def has_workspace(run: RunDirectory) -> bool:
    """Return whether the run directory has a workspace, which a link to one is not."""
    return (state := _state(run.workspace)) is not None and stat.S_ISDIR(state.st_mode)


def is_there(run: RunDirectory) -> bool:
    """Return whether there is a run directory, which a link to one is not."""
    return (state := _state(run.path)) is not None and stat.S_ISDIR(state.st_mode)


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_to_everyone(run: RunDirectory) -> None:
    """Let any user of the machine write below the run directory, for images and engines that use another user id.

    The data directory above is closed to others, so only those that are given this directory by a mount get at it.
    """
    with Folder.opened(run.path) as folder:
        folder.open_to_everyone()


@contextmanager
def opened_gate(run: RunDirectory) -> Iterator[None]:
    """Write `go` into the gate and hold it open, so that a script that comes to it late still reads the word.

    Leave it once the mark `started` is there or the workload has ended. If nothing waits there, nothing happens.
    """
    # Opened for reading too, so that neither the opening nor the writing waits for the other side.
    descriptor = os.open(run.gate, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.write(descriptor, b"go\n")
        yield
    finally:
        os.close(descriptor)


def mark_stopping(run: RunDirectory) -> None:
    """Note that the job is to stop, for its script, before any of its processes is signalled."""
    # Without the mark, as where the disk takes no further file, the job is stopped all the same.
    with suppress(OSError):
        os.close(os.open(run.stopping, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644))


def send_stop(run: RunDirectory) -> bool:
    """Ask for SIGTERM to all of the job's processes in a container; return False where no process there is asked.

    True promises nothing: the process may be stopped or about to end. The mark `signalled` tells that it was done.
    """
    try:
        descriptor = os.open(run.stop, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode) and os.write(descriptor, b"stop\n") > 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def clear(run: RunDirectory) -> list[Path]:
    """Delete the files of a run directory that can be deleted at once, but its log and what `write_record` has written;
    return what is left.

    The gate goes first: from then on the directory tells that its attempt is over (`RunDirectory.is_spent`). To be
    called once the workload is gone.
    """
    if not is_there(run):
        # A process can put something else in its place, which holds no log.
        with suppress(FileNotFoundError), Folder.opened(run.path.parent) as job:
            job.delete(run.path.name)
        return []
    left: list[Path] = []
    with Folder.opened(run.path) as folder:
        for name in sorted(folder.names(), key=lambda name: name != run.gate.name):
            try:
                if name == run.reports.name and folder.remove_if_empty(name):
                    continue
                if folder.has_folder(name):
                    left.append(run.path / name)
                elif name not in KEPT:
                    folder.delete(name)
            except PermissionError:
                left.append(run.path / name)
    return left


def write_record(run: RunDirectory, record: str, steps: str) -> None:
    """Write the record of the attempt and of its steps, each whole or not at all, over what the job has put there.

    To be called once the workload is gone. Does nothing where the run directory is gone. Raises OSError, also where a
    directory has the name of one, which `clear` removes.
    """
    if is_there(run):
        with Folder.opened(run.path) as folder:
            folder.write(run.record.name, record.encode())
            folder.write(run.steps.name, steps.encode())


def is_cleared(run: RunDirectory) -> bool:
    """Return whether nothing is left of a run directory but its log and its records."""
    try:
        with os.scandir(run.path) as entries:
            return all(entry.name in KEPT and not entry.is_dir(follow_symlinks=False) for entry in entries)
    except FileNotFoundError:
        return True
