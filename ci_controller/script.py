"""Writes a job as one POSIX sh script.

The script needs nothing but /bin/sh: everything it does itself is done by builtins, so it runs in an image that holds a
shell and the job's own program and nothing else. Text that comes from users stands in single quotes, byte for byte.

Its promises to the controller: it makes the mark `waiting`, blocks until somebody writes `go` into `gate`, makes the
mark `started`, and then runs the steps with their output in `log`, until one fails. SIGTERM ends the running step but
not the script, which lives on to write `exit`.
"""

import os
from collections.abc import Iterator, Mapping

from ci_common.spec import ExecutionPlan, PlannedStep

_HEAD = rb"""#!/bin/sh
__ci_run=$1
set --
unset TINI_KILL_PROCESS_GROUP
__ci_stopped=
trap '__ci_stopped=" term"' TERM

__ci_uptime() {
    { IFS=' ' read -r __ci_up __ci_rest </proc/uptime; } 2>/dev/null || __ci_up=
}

# Descriptor 1 is the log, opened for appending and shared with every step: its position is the log's length.
__ci_record() {
    __ci_uptime
    __ci_offset=
    { while IFS=' 	' read -r __ci_key __ci_value; do
        [ "$__ci_key" != pos: ] || { __ci_offset=$__ci_value; break; }
    done </proc/self/fdinfo/1; } 2>/dev/null
    printf '{"step":%s,"event":"%s",%s"uptime":"%s","offset":"%s"}\n' \
        "$1" "$2" "$3" "$__ci_up" "$__ci_offset" >>"$__ci_run/steps.jsonl"
}

__ci_finish() {
    printf '%s%s\n' "$1" "$__ci_stopped" >"$__ci_run/exit"
    exit "$1"
}

: >"$__ci_run/waiting"
while :; do
    { IFS= read -r __ci_word <"$__ci_run/gate"; } 2>/dev/null && [ "$__ci_word" = go ] && break
    [ -z "$__ci_stopped" ] || exit 143
done
__ci_uptime
printf '%s' "$__ci_up" >"$__ci_run/started"
exec </dev/null >>"$__ci_run/log" 2>&1
"""

_STEP = b"""
__ci_record %(number)d start ''
( %(body)s )
__ci_status=$?
__ci_record %(number)d end "\\"code\\":$__ci_status,"
[ "$__ci_status$__ci_stopped" = 0 ] || __ci_finish "$__ci_status"
"""


def quote(text: str | bytes) -> bytes:
    """Return `text` as one word of sh that stands for exactly these bytes. Raises ValueError for a NUL byte."""
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise ValueError("a NUL byte cannot be part of a command, a variable or a path")
    return b"'" + raw.replace(b"'", b"'\\''") + b"'"


def write_script(plan: ExecutionPlan, *, base: str, environment: Mapping[str, str]) -> bytes:
    """Return the script of a job.

    `base` is the run directory as the job sees it; `environment` the runtime's variables, which the plan's override.
    """
    return b"".join(_parts(plan, base=base, environment=environment))


def _parts(plan: ExecutionPlan, *, base: str, environment: Mapping[str, str]) -> Iterator[bytes]:
    yield _HEAD
    for name, value in {**environment, **plan.env}.items():
        yield b"export %s=%s\n" % (name.encode("ascii"), quote(value))
    directory = quote(f"{base}/workspace/{plan.directory}")
    yield b"cd -- %s || __ci_finish 1\n" % directory
    for number, step in enumerate(plan.steps):
        yield _STEP % {b"number": number, b"body": _body(step)}
    yield b"\n__ci_finish 0\n"


def _body(step: PlannedStep) -> bytes:
    if step.argv is not None:
        return b"exec " + b" ".join(quote(word) for word in step.argv)
    assert step.shell is not None, "a planned step has either argv or shell"
    return (b"set -e; " if step.stop_at_failure else b"") + b"eval " + quote(step.shell)
