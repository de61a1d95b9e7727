"""The part of a job that gives it its secrets: a script of its own, which is emptied once it has been read.

The job's script reads it behind the setup, in its own shell: the values are in variables and files of the job from then
on, and in no argument and no file of the script's any more. It is written by builtins, so no process has a value among
its arguments.
"""

from collections.abc import Sequence
from pathlib import Path

from ci_common.run_directory.layout import RunDirectory
from ci_common.spec_parts.secrets import VARIABLE, PlannedSecret
from ci_controller.run_directory.quoting import quote

_FILE = b"( umask 077; printf '%%s' %s >%s ) || exit 1\n"

READ = b"""
[ -f "$__ci_run/secrets.sh" ] && . "$__ci_run/secrets.sh" || {
    echo 'ci: the secrets of this job are not there any more'
    __ci_finish 1
}
: >"$__ci_run/secrets.sh"
"""
"""What the job's script has to read it."""


def write_secrets(values: Sequence[tuple[PlannedSecret, str]], *, base: Path) -> bytes:
    """Return the script that sets these secrets. `base` is the run directory as the job sees it."""
    directory = RunDirectory(base).secret_files
    lines = [b"command export %s=%s\n" % (VARIABLE.encode(), quote(str(directory)))]
    for secret, value in values:
        if secret.file is not None:
            lines.append(_FILE % (quote(value), quote(str(directory / secret.file))))
        else:
            assert secret.env is not None, "a planned secret has one target"
            lines.append(b"command export %s=%s\n" % (secret.env.encode("ascii"), quote(value)))
    return b"".join(lines)
