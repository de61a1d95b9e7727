"""Job ids: UUIDv7 (RFC 9562, section 5.7), so that sorting by id is sorting by submission time."""

import os
import time
import uuid


def new_job_id() -> str:
    """Return a new UUIDv7, lower case."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random_bits
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=value))


def is_job_id(text: str) -> bool:
    """Tell whether `text` is a UUID in the canonical lower-case form that job ids have."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
