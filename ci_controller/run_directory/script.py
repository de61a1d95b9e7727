"""Writes a job as two POSIX sh scripts: `GATE_SCRIPT`, the same for all jobs, which waits, and the job's own.

They need nothing but /bin/sh: everything they do themselves is done by builtins, so they run in an image that holds a
shell and the job's own program and nothing else. Text that comes from users stands in single quotes, byte for byte. The
job's own is read only once the gate has opened, so what waits there need not know yet which job it will be.

Its promises to the controller: where its job has been through the gate before, it ends at once. Else it makes the mark
`waiting`, blocks until `go` is written into `gate`, makes the mark `started`, and then runs the steps with their
output in `log`, until one fails. It writes `exit` at its end, also where no further process can be started.

No signal that can be caught ends it behind the gate: a job's own signals reach it, too, by its process group and as
`$PPID`. Whether the job is to stop, the mark `stopping` says, which is made before a stop is signalled; no step begins
once the mark is there. Outside of containers, SIGTERM at the gate ends the script. In a container it is the first
process, which none in there can kill or stop, and the word `stop` in the FIFO of that name has SIGTERM sent to all
others.

Alone in a container, it adds to `exit` what the kernel refused the job, and whether it is the last of the job's
processes, so that nothing writes into the log any more. If it is, and the job was not stopped, it stays until `gate` is
opened once more: the engine has a lot to do once it has gone, and the verdict is to be out by then.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ci_common.spec import ExecutionPlan, PlannedStep

SHELL = "/bin/sh"
"""What runs the steps. The script itself is run by whatever the runtime runs it with, which is the same."""
_LONGEST_WORD = 64 * 1024
"""Bytes of shell text that are handed to a shell as a word; Linux takes 128 KiB at most, less with a small stack."""

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
! __ci_is_stopped || __ci_finish 143
__ci_before_step
__ci_record %(number)d start ''
( exec 9>&-; ! __ci_is_stopped || exit 143; %(body)s )
__ci_status=$?
__ci_record %(number)d end "\\"code\\":$__ci_status,"
[ "$__ci_status" = 0 ] || __ci_finish "$__ci_status"
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a job's code does before its first step, without being one: a program that must succeed, then variables.

    If the program fails, the job ends with its exit status.
    """

    program: tuple[str, ...]
    environment: Mapping[str, str]


def quote(text: str | bytes) -> bytes:
    """Return `text` as one word of sh that stands for exactly these bytes. Raises ValueError for a NUL byte.

    Text is UTF-8, whatever the controller's locale; bytes that are not stand in it as `surrogateescape` has them.
    """
    raw = text if isinstance(text, bytes) else _encode(text)
    if b"\0" in raw:
        raise ValueError("a NUL byte cannot be part of a command, a variable or a path")
    return b"'" + raw.replace(b"'", b"'\\''") + b"'"


def write_script(
    plan: ExecutionPlan,
    *,
    base: str,
    environment: Mapping[str, str],
    setup: Setup | None = None,
) -> bytes:
    """Return the script of a job, which `GATE_SCRIPT` reads.

    `base` is the run directory as the job sees it; `environment` the runtime's variables, which the plan's override.
    """
    return b"".join(_parts(plan, base=base, environment=environment, setup=setup))


def _parts(plan: ExecutionPlan, *, base: str, environment: Mapping[str, str], setup: Setup | None) -> Iterator[bytes]:
    yield from _exports({**environment, **plan.env})
    yield b"cd -- %s || __ci_finish 1\n" % quote(b"%s/workspace/%s" % (os.fsencode(base), _encode(plan.directory)))
    yield _TRUST
    if setup is not None:
        yield b'( exec %s ) || __ci_finish "$?"\n' % _words(setup.program)
        yield from _exports(setup.environment)
    for number, step in enumerate(plan.steps):
        yield _STEP % {b"number": number, b"body": _body(step)}
    yield b"\n__ci_finish 0\n"


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


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
