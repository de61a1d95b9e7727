"""The settings on quotas: what each project and each owner may use, one limit for all and others for some by name.

`unlimited`, `100`, `100,website=500,nightly=unlimited`; for bytes `10g,website=100g`.
"""

from collections.abc import Callable
from typing import Annotated, Final

from pydantic import PlainValidator

from ci_common.configuration.declaration import DeclaredSettings, setting
from ci_common.configuration.limits import Limit, parse_limit
from ci_common.parsing.values import decimal_number, parse_size

UNLIMITED: Final = "unlimited"
MOST: Final = 2**53


def parse_count(text: str) -> int | None:
    """Return a number of things, None for no limit. Raises ValueError, which says what would be right."""
    if text == UNLIMITED:
        return None
    number = decimal_number(text)
    if not isinstance(number, int) or not 0 <= number <= MOST:
        raise ValueError(f"{text!r} is not a quota; write a number (100) or {UNLIMITED}")
    return number


def parse_bytes(text: str) -> int | None:
    """Return a number of bytes, None for no limit. Raises ValueError, which says what would be right."""
    if text == UNLIMITED:
        return None
    try:
        size = parse_size(text)
    except ValueError:
        size = -1
    if not 0 <= size <= MOST:
        raise ValueError(f"{text!r} is not a quota; write a size (10g, 1048576) or {UNLIMITED}")
    return size


def _limit(parse_one: Callable[[str], int | None]) -> PlainValidator:
    return PlainValidator(lambda value: parse_limit(value, parse_one))


Counts = Annotated[Limit[int], _limit(parse_count)]
Sizes = Annotated[Limit[int], _limit(parse_bytes)]


class QuotaSettings(DeclaredSettings):
    """What each project and each owner of jobs may use at most."""

    quota_queued: Counts = setting(
        "CI_QUOTA_QUEUED", UNLIMITED, "queued jobs of each project, as in 100,website=500; more are refused", "jobs"
    )
    quota_running: Counts = setting(
        "CI_QUOTA_RUNNING", UNLIMITED, "jobs of each project that run at a time; others wait", "jobs"
    )
    quota_stored: Sizes = setting(
        "CI_QUOTA_STORED",
        UNLIMITED,
        "uploads, logs, artifacts and caches of each project, as in 10g; submissions beyond are refused",
        "bytes",
    )
    quota_uploads: Counts = setting(
        "CI_QUOTA_UPLOADS", UNLIMITED, "uploads of each project at a time; more are refused", "uploads"
    )
    quota_streams: Counts = setting(
        "CI_QUOTA_STREAMS", UNLIMITED, "open streams of each project; more are refused", "streams"
    )
    quota_owner_queued: Counts = setting(
        "CI_QUOTA_OWNER_QUEUED", UNLIMITED, "the same as CI_QUOTA_QUEUED for each owner, as in 100,alice=500", "jobs"
    )
    quota_owner_running: Counts = setting(
        "CI_QUOTA_OWNER_RUNNING", UNLIMITED, "the same as CI_QUOTA_RUNNING for each owner", "jobs"
    )
    quota_owner_stored: Sizes = setting(
        "CI_QUOTA_OWNER_STORED", UNLIMITED, "the same as CI_QUOTA_STORED for each owner", "bytes"
    )
    quota_owner_uploads: Counts = setting(
        "CI_QUOTA_OWNER_UPLOADS", UNLIMITED, "the same as CI_QUOTA_UPLOADS for each owner", "uploads"
    )
    quota_owner_streams: Counts = setting(
        "CI_QUOTA_OWNER_STREAMS", UNLIMITED, "open streams of each reader, by the name of its identity", "streams"
    )
