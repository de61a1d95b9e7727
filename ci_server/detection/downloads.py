"""The shell text with which a setup installs from what setups of its project have downloaded before.

A setup that runs apart from any job may write the directory `CI_DOWNLOADS`. A job that runs its setup itself can only
read what is in `/ci-downloaded`, if that is there. In both, each package manager's cache is one archive. It is replaced
as a whole, so no death of a setup leaves half of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ci_common.spec import DOWNLOADED
from ci_server.detection.detected import lines

FUNCTIONS = f"""\
ci_take() {{
    ci_archive="${{CI_DOWNLOADS:-{DOWNLOADED}}}/$1.tar"
    [ ! -f "$ci_archive" ] || {{ mkdir -p "$2" && tar -xof "$ci_archive" -C "$2"; }} 2>/dev/null || rm -rf "$2"
}}
ci_keep() {{
    if [ -z "${{CI_DOWNLOADS-}}" ] || [ ! -d "$2" ]; then return 0; fi
    ci_draft=$(mktemp -q "$CI_DOWNLOADS/$1.XXXXXX") || return 0
    find "$CI_DOWNLOADS" -name "$1.??????" -mmin +60 -exec rm -f {{}} + 2>/dev/null || :
    if tar -cf "$ci_draft" -C "$2" . && chmod 644 "$ci_draft"; then mv "$ci_draft" "$CI_DOWNLOADS/$1.tar"
    else rm -f "$ci_draft"; fi 2>/dev/null || :
}}
"""
"""The functions `ci_take` and `ci_keep`, each of which takes the name of an archive and a directory."""
_CALL = re.compile(r"(?<![\w./-])ci_(?:take|keep)(?![\w./-])")


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory in which a package manager keeps what it has downloaded."""

    name: str
    """Of the archive."""
    directory: str
    """As shell text, without quotes."""
    variable: str = ""
    """The variable by which the setup names the directory to the package manager; empty where it knows it."""
    is_needed: bool = False
    """Whether what is installed needs the directory. Another one is no part of the environment."""


def installing(caches: Sequence[Cache], *texts: str) -> str:
    """Return shell text that runs `texts`, which download into these caches."""
    return lines(
        *(f'export {cache.variable}="{cache.directory}"' for cache in caches if cache.variable),
        *(f'ci_take {cache.name} "{cache.directory}"' for cache in caches),
        *texts,
        *(f'ci_keep {cache.name} "{cache.directory}"' for cache in caches),
        *(f'rm -rf "{cache.directory}"' for cache in caches if not cache.is_needed),
    )


def with_downloads(text: str) -> str:
    """Return shell text of a setup, with `ci_take` and `ci_keep` defined if they are called."""
    return FUNCTIONS + text if _CALL.search(text) else text
