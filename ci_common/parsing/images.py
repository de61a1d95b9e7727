"""Patterns for references of images, such as `python:3.*` and `ghcr.io/team/*`, and whether a reference matches one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Final

from pydantic import PlainValidator

from ci_common.parsing.text import shown

PATTERN_TEXT: Final = r"^[A-Za-z0-9._:/@*?-]{1,512}$"
"""What a pattern is made of, for JSON Schema."""
_PATTERN: Final = re.compile(PATTERN_TEXT[1:-1])
_DEFAULT_REGISTRY: Final = "docker.io"
_ALSO_DEFAULT: Final = "index.docker.io"


def check_image_pattern(text: str) -> str:
    """Return a pattern. Raises ValueError, which says what would be right."""
    if not _PATTERN.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not a pattern for images; write it as in python:3.*, ghcr.io/team/* or *, "
            "with letters, digits, . _ - : / @ and the wildcards * and ?"
        )
    return text


def matches_image(pattern: str, image: str) -> bool:
    """Return whether a reference matches a pattern. `*` stands for any characters, also for slashes.

    Both are compared with their registry: `python` is `docker.io/library/python`. A pattern that is `*`, or has a
    wildcard before its first slash, is taken as it is. One without tag and digest matches all of them. A reference
    without any has the tag `latest`.
    """
    repository, mark, version = _split(pattern)
    named, image_mark, image_version = _split(image)
    if not _compiled(_with_registry(repository, is_pattern=True)).fullmatch(_with_registry(named, is_pattern=False)):
        return False
    if not mark:
        return True
    if not image_mark:
        image_mark, image_version = ":", "latest"
    return bool(_compiled(mark + version).fullmatch(image_mark + image_version))


def _split(reference: str) -> tuple[str, str, str]:
    """Return the repository, and `:` with a tag or `@` with a digest. A tag before a digest only explains it."""
    repository, at, digest = reference.partition("@")
    start, slash, last = repository.rpartition("/")
    name, colon, tag = last.partition(":")
    if at:
        return start + slash + name, "@", digest
    return start + slash + name, colon, tag


def _with_registry(repository: str, *, is_pattern: bool) -> str:
    first, slash, rest = repository.partition("/")
    if is_pattern and ("*" in first or "?" in first) and (slash or first == "*"):
        return repository
    if not slash:
        return f"{_DEFAULT_REGISTRY}/library/{repository}"
    if first == _ALSO_DEFAULT:
        first = _DEFAULT_REGISTRY
    if "." not in first and ":" not in first and first != "localhost" and not first.startswith("["):
        return f"{_DEFAULT_REGISTRY}/{repository}"
    if first == _DEFAULT_REGISTRY and "/" not in rest:
        return f"{_DEFAULT_REGISTRY}/library/{rest}"
    return f"{first}/{rest}"


@lru_cache(1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


@dataclass(frozen=True, slots=True)
class ImagePatterns:
    """A list of patterns in a setting. An empty one allows all images."""

    text: str
    """The text of the setting."""
    listed: tuple[str, ...] = ()

    def first_refused(self, images: Iterable[str]) -> str | None:
        """Return the first of the images that no pattern matches; None if there is none."""
        if not self.listed:
            return None
        return next((each for each in images if not any(matches_image(one, each) for one in self.listed)), None)

    def __str__(self) -> str:
        return self.text


def parse_image_patterns(value: object) -> ImagePatterns:
    """Parse patterns separated by commas."""
    if isinstance(value, ImagePatterns):
        return value
    text = str(value).strip()
    return ImagePatterns(text, tuple(check_image_pattern(each.strip()) for each in text.split(",") if each.strip()))


AllowedImages = Annotated[ImagePatterns, PlainValidator(parse_image_patterns)]
"""Patterns of images."""
