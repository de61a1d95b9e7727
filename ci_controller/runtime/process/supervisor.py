"""The program that keeps one job of the process runtime: it starts the job's script and outlives the controller.

    python -I -S supervisor.py <package root> <record directory> <run directory> <open files>

It takes the record's lock, writes its identity, runs `/bin/sh run <run directory>` in a process group of its own, with
that soft limit of open files, passes signals on, kills whatever of the job is left once the script has ended, and
writes how that ended. SIGTERM means: send SIGTERM to all of the job. SIGUSR1 means: kill all of the job at
once. A script that the job stops is sent on, and for one that the job kills the end is written here.

The first process returns once the job's script runs, with status 0; with status BUSY where another supervisor has or
had this record; or with another, having said why on standard error. A job waits for this, so little is imported.
"""

import fcntl
import os
import resource
import signal
import sys

BUSY = 3
SHELL = "/bin/sh"
_HEARD = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
_PR_SET_CHILD_SUBREAPER = 36


def main(root: str, record: str, run: str, open_files: str) -> int:
    """Take charge in a process without a parent that waits for it; return the first process's exit status."""
    sys.path.append(root)
    os.chdir(record)  # The record may be renamed; relative paths go on meaning this one.
    lock = os.open("lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return BUSY
    if os.path.exists("supervisor"):
        return BUSY
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(open_files), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        _keep(run, writing)
        return 0
    os.close(writing)
    with open(reading, errors="replace") as pipe:
        answer = pipe.read()
    if answer == "ok":
        return 0
    print(answer or "the supervisor ended early", file=sys.stderr)
    return 1


def _keep(run: str, ready: int) -> None:
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, "output", os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        os.dup2(os.open(name, flags, 0o600), descriptor)
    os.dup2(1, 2)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # What is ignored, as by default, may not be waited for.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        script = _begin(run)
    except Exception as exc:
        os.write(ready, str(exc).encode(errors="replace"))
        raise
    os.write(ready, b"ok")
    os.close(ready)
    status, on_request = _wait(script)
    _kill_the_rest(script)
    _write_use()
    code = os.waitstatus_to_exitcode(status)
    if code < 0 and not on_request:
        from ci_controller.runtime.process.killed_script import write_end

        write_end(run, -code)
    _write("exit", f"{code if code >= 0 else 128 - code}\n")
    os.close(os.open("../ended", os.O_WRONLY | os.O_CREAT, 0o600))  # Wakes those that watch the directory of records.


def _write_use() -> None:
    """Note what all that has ended has used: the memory is that of the largest process."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory = use.ru_maxrss * (1024 if sys.platform == "linux" else 1)
    seconds = use.ru_utime + use.ru_stime
    _write(
        "usage",
        f'{{"peak_memory": {memory}, "cpu_seconds": {seconds:.6f}, '
        f'"read_bytes": {use.ru_inblock * 512}, "written_bytes": {use.ru_oublock * 512}}}\n',
    )


def _begin(run: str) -> int:
    """Start the script and return its pid, with both identities on record; or raise, and nothing runs."""
    _become_subreaper()
    _write("supervisor", _identity(os.getpid()))
    defaults = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    script = 0
    try:
        words = [SHELL, os.path.join(run, "run"), run]
        script = os.posix_spawn(SHELL, words, {}, setpgroup=0, setsigmask=[], setsigdef=defaults)
        _write("script", _identity(script))
    except OSError:
        if script:
            os.killpg(script, signal.SIGKILL)
        os.unlink("supervisor")
        raise
    return script


def _wait(script: int) -> tuple[int, bool]:
    """Return the script's wait status, and whether it was to be killed.

    Signals are taken one by one, so none falls between a look and a wait.
    """
    on_request = False
    while True:
        heard = signal.sigwait(_HEARD)
        if heard == signal.SIGTERM:
            _terminate(script)
        elif heard == signal.SIGUSR1:
            on_request = True
            os.killpg(script, signal.SIGKILL)
        while (changed := _reap(os.WNOHANG | os.WUNTRACED)) is not None:
            if changed[0] != script:
                continue
            if not os.WIFSTOPPED(changed[1]):
                return changed[1], on_request
            os.kill(script, signal.SIGCONT)


def _terminate(script: int) -> None:
    """Send SIGTERM to the job's process group, and to what has left that."""
    os.killpg(script, signal.SIGTERM)
    found = [os.getpid()]
    for parent in found:
        found += _children_of(parent)
    for pid in found[1:]:
        try:
            if os.getpgid(pid) != script:
                os.kill(pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            pass  # It has ended, or runs as another user.


def _children_of(pid: int) -> list[int]:
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass  # It has ended, or this is no Linux.
    return found


def _kill_the_rest(script: int) -> None:
    """Kill all that is left of the job: orphans become children of this subreaper, so no child means nothing left."""
    while children := _children(script):
        immune = 0
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except PermissionError:
                immune += 1  # It runs as another user now, as by sudo.
        if immune == len(children):
            print(f"cannot kill {children}", flush=True)
            return
        _reap(0)


def _children(script: int) -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        pass
    try:
        os.killpg(script, signal.SIGKILL)  # No Linux: the job's process group is all that can be found.
    except (ProcessLookupError, PermissionError):
        pass
    return []


def _reap(options: int) -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _become_subreaper() -> None:
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _identity(pid: int) -> str:
    """Return the text that `ci_common.system.processes.ProcessIdentity.from_json` reads."""
    from ci_common.system.processes import pid_scope, start_time_of

    return f'{{"pid": {pid}, "start": "{start_time_of(pid)}", "scope": "{pid_scope()}"}}'


def _write(name: str, text: str) -> None:
    with open(f"{name}.new", "w") as file:
        file.write(text)
    os.replace(f"{name}.new", name)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
