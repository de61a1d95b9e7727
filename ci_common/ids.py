"""Job ids: UUIDv7 (RFC 9562, section 5.7), so that sorting by id is sorting by submission time.

The twelve bits behind the milliseconds hold their fraction (section 6.2, method 3): ids made one after the other on one
machine sort so even within a millisecond.
"""

import os
import time
import uuid


def new_job_id() -> str:
    """Return a new UUIDv7, lower case."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | fraction << 64 | 0b10 << 62 | random_bits
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_job_id(text: str) -> bool:
    """Tell whether `text` is a UUID in the canonical lower-case form that job ids have."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
