"""From the caches that a job asks for to those of its plan: the files that their keys name are hashed."""

from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

from ci_common.errors import CacheConflict, FieldError, InputMissing, RequestError
from ci_common.parsing.text import shown
from ci_common.run_directory.inputs import digest_of, find_inputs
from ci_common.spec_parts.caches import LONGEST_KEY, CacheSpec, PlannedCache, fill_in

DIGITS = 16
"""How many hexadecimal digits of a digest stand in a key."""


def planned_caches(
    caches: Sequence[CacheSpec], *, image: str, directory: Path | None, root: Path
) -> tuple[PlannedCache, ...]:
    """Return the caches with their keys. `directory` is the project's, None for a job without files.

    Raises InputMissing if a pattern in a key matches no file, CacheConflict if a cache cannot be used in this job.
    """
    for (number, one), (_, other) in permutations(enumerate(caches), 2):
        if f"{one.path}/".startswith(f"{other.path}/"):
            message = f"{shown(one.path)} belongs to two caches; name each file or directory once"
            raise _refused(f"cache.{number}.path", message)
    return tuple(_planned(number, cache, image, directory, root) for number, cache in enumerate(caches))


def _planned(number: int, cache: CacheSpec, image: str, directory: Path | None, root: Path) -> PlannedCache:
    def filled(field: str, text: str) -> str:
        place = f"cache.{number}.{field}"
        key = fill_in(text, image=image, hashed=_hasher(place, directory, root))
        if len(key) > LONGEST_KEY:
            raise _refused(place, f"it has {len(key)} characters with its placeholders; at most {LONGEST_KEY} are kept")
        return key

    restore = tuple(filled(f"restore.{position}", prefix) for position, prefix in enumerate(cache.restore))
    return PlannedCache(path=cache.path, key=filled("key", cache.key), restore=restore, when=cache.when)


def _hasher(place: str, directory: Path | None, root: Path) -> Callable[[Sequence[str]], str]:
    def hashed(patterns: Sequence[str]) -> str:
        if directory is None:
            raise _refused(place, "without an upload there are no files to be hashed; write a key without hash()")
        try:
            return digest_of(directory, find_inputs(directory, patterns, root=root))[:DIGITS]
        except InputMissing as exc:
            message = f"no file of the project matches {' and '.join(map(shown, patterns))}"
            raise _refused(place, message, kind=InputMissing) from exc
        except RequestError as exc:
            message = exc.errors[0].message if exc.errors else str(exc)
            raise _refused(place, f"the files of its hash() cannot be used: {message}") from exc

    return hashed


def _refused(place: str, message: str, kind: type[RequestError] = CacheConflict) -> RequestError:
    return kind(f"the cache cannot be used: {place}: {message}", FieldError(place, message))
