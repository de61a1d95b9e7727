"""The part of a job's script that puts caches in place, and packs what is to be kept of them.

A job does both itself, as its own user and with the `tar` that it finds: only there is it known where its home is and
whose its files are. What it packs is not trusted: `ci_controller.caches.archives` checks it before it is kept. All of
the files are in the folder `caches` of the run directory.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ci_common.parsing.text import shown_size
from ci_common.spec_parts.caches import PlannedCache
from ci_controller.run_directory.quoting import quote

FOLDER = "caches"
DONE = ".done"
"""What is appended to the name of an archive for the mark that it has been unpacked, or packed, as a whole."""
_BLOCK = 512  # The unit of `ulimit -f`.

_FUNCTIONS = rb"""
# The uptime in hundredths of a second.
__ci_hundredths() {
    __ci_uptime
    __ci_now=0
    case $__ci_up in
    *.[0-9][0-9]) __ci_now=$((${__ci_up%.*} * 100 + 1${__ci_up#*.} - 100)) ;;
    esac
}

# Sets __ci_spent to the seconds since the last call of __ci_hundredths.
__ci_took() {
    __ci_since=$__ci_now
    __ci_hundredths
    __ci_spent=$(((__ci_now - __ci_since) / 10))
    __ci_spent="$((__ci_spent / 10)).$((__ci_spent % 10)) s"
}

# Sets __ci_size to the position of descriptor 7, as people write a number of bytes.
__ci_measure() {
    __ci_size=0
    { while IFS=' 	' read -r __ci_key __ci_value; do
        [ "$__ci_key" != pos: ] || { __ci_size=$__ci_value; break; }
    done </proc/self/fdinfo/7; } 2>/dev/null
    if [ "$__ci_size" -lt 1048576 ]; then
        __ci_size="$((__ci_size / 1024)).$((__ci_size % 1024 * 10 / 1024)) KiB"
    else
        __ci_size="$((__ci_size / 1048576)).$((__ci_size % 1048576 * 10 / 1048576)) MiB"
    fi
}

# What was put in place in part is removed again.
__ci_restore() {
    ! __ci_is_stopped || return 0
    __ci_hundredths
    if ! command -v tar >/dev/null 2>&1; then
        printf 'ci: cache %s: not restored, since there is no tar here\n' "$1"
    elif ( exec 9>&-; mkdir -p -- "$2" && exec tar -xpof "$4" -C "$2" ); then
        __ci_took
        printf '' >"$4.done"
        printf 'ci: cache %s: restored from "%s" (%s, %s)\n' "$1" "$5" "$6" "$__ci_spent"
    else
        ( exec 9>&-; rm -rf -- "$2/$3" )
        printf 'ci: cache %s: could not be restored from "%s"\n' "$1" "$5"
    fi
    printf '' >"$4"
}

__ci_pack() {
    ! __ci_is_stopped || return 0
    __ci_hundredths
    if [ -L "$2/$3" ] || [ ! -e "$2/$3" ]; then
        printf 'ci: cache %s: not saved, since it is no file or directory\n' "$1"
    elif ! command -v tar >/dev/null 2>&1; then
        printf 'ci: cache %s: not saved, since there is no tar here\n' "$1"
    elif { ( exec 9>&-; ulimit -f "$6" 2>/dev/null; exec tar -cf - -C "$2" "$3" >&7 7>&- ) && __ci_measure; } 7>"$4"
    then
        __ci_took
        printf '' >"$4.done"
        printf 'ci: cache %s: packed, to be saved as "%s" (%s, %s)\n' "$1" "$5" "$__ci_size" "$__ci_spent"
    else
        printf '' >"$4"
        printf 'ci: cache %s: not saved, since it has more than %s, or cannot be read\n' "$1" "$7"
    fi
}
"""


@dataclass(frozen=True, slots=True)
class PlacedCache:
    """A cache of an attempt, and what is to be done with it."""

    number: int
    plan: PlannedCache
    """With its whole key."""
    restored_from: str | None = None
    """The key of the cache whose archive is put in place; None if there is none."""
    size: int = 0
    """Bytes of that archive."""
    note: str = "not found"
    """What the log says where nothing is put in place."""
    is_saved: bool = True
    """Whether it is packed if the end of the job is one of those that it asks for."""

    @property
    def archive(self) -> str:
        """The name of what is put in place."""
        return f"{self.number}.in"

    @property
    def packed(self) -> str:
        """The name of what the job packs."""
        return f"{self.number}.out"


def write_beginning(caches: Sequence[PlacedCache], *, base: bytes, most_bytes: int) -> bytes:
    """Return what comes before the first step. It defines `__ci_end`, which takes the status that the job ends with."""
    return b"".join([_FUNCTIONS, *_restoring(caches, base), *_packing(caches, base, most_bytes)])


def _restoring(caches: Sequence[PlacedCache], base: bytes) -> Iterator[bytes]:
    for cache in caches:
        if cache.restored_from is None:
            yield b"printf '%%s\\n' %s\n" % quote(f"ci: cache {cache.plan.path}: {cache.note}")
        else:
            words = [*_words(cache, base, cache.archive), cache.restored_from, shown_size(cache.size)]
            yield _call("__ci_restore", words)


def _packing(caches: Sequence[PlacedCache], base: bytes, most_bytes: int) -> Iterator[bytes]:
    yield b"__ci_end() {\n"
    for cache in caches:
        if cache.is_saved:
            condition = {"success": b'[ "$1" != 0 ] || ', "failure": b'[ "$1" = 0 ] || '}.get(cache.plan.when, b"")
            words = [*_words(cache, base, cache.packed), cache.plan.key]
            yield condition + _call("__ci_pack", [*words, str(most_bytes // _BLOCK), shown_size(most_bytes)])
    yield b'__ci_finish "$1"\n}\n'


def _words(cache: PlacedCache, base: bytes, archive: str) -> list[str | bytes]:
    """Return what both functions take first: the name for people, the folder of the cache, its name, the archive.

    A folder that is bytes is a word of sh already.
    """
    path = PurePosixPath(cache.plan.path.removeprefix("~/"))
    folder = b'"${HOME:-/root}"/' if cache.plan.is_in_home else b"./"
    return [
        cache.plan.path,
        folder + quote(str(path.parent)),
        path.name,
        quote(b"%s/%s/%s" % (base, FOLDER.encode(), os.fsencode(archive))),
    ]


def _call(function: str, words: Sequence[str | bytes]) -> bytes:
    quoted = [word if isinstance(word, bytes) else quote(word) for word in words]
    return b"%s %s\n" % (function.encode(), b" ".join(quoted))
