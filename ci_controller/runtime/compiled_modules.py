"""A program: puts what a setup's Python has compiled into the wheels that uv keeps unpacked in its cache, its argument.

uv installs a kept wheel with all files that are there, so nothing that is installed from it later is compiled again. A
copy of a source has another time, by which Python would take the compiled module for an old one. So it is made one that
Python checks by the source's digest (PEP 552).

It runs in any image, with the Python there: 3.6 or later.
"""

import importlib.util
import os
import struct
import sys

_HEADER = 16
_BY_TIME = 0
_BY_CHECKED_DIGEST = 3


def keep_compiled(cache: str) -> None:
    """Copy the compiled module of each source in the cache that is installed with the same content."""
    for bucket in os.listdir(cache):
        if bucket.startswith("archive-v"):
            for wheel in os.listdir(os.path.join(cache, bucket)):
                _fill(os.path.join(cache, bucket, wheel))


def _fill(wheel: str) -> None:
    for folder, _, names in os.walk(wheel):
        for name in names:
            if name.endswith(".py"):
                for installed in sys.path:
                    place = os.path.join(installed, os.path.relpath(os.path.join(folder, name), wheel))
                    if _keep(os.path.join(folder, name), place):
                        break


def _keep(source: str, installed: str) -> bool:
    target = importlib.util.cache_from_source(source)
    if os.path.exists(target):
        return True
    try:
        with open(importlib.util.cache_from_source(installed), "rb") as file:
            compiled = file.read()
        with open(installed, "rb") as file:
            content = file.read()
        with open(source, "rb") as file:
            if file.read() != content:
                return False
        flags, _, size = struct.unpack("<LLL", compiled[4:_HEADER])
    except (OSError, struct.error):
        return False
    if flags != _BY_TIME or size != len(content) & 0xFFFFFFFF:
        return False
    digest = importlib.util.source_hash(content)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    draft = f"{target}.{os.getpid()}"
    with open(draft, "wb") as file:
        file.write(compiled[:4] + struct.pack("<L", _BY_CHECKED_DIGEST) + digest + compiled[_HEADER:])
    os.rename(draft, target)
    return True


if __name__ == "__main__":
    keep_compiled(sys.argv[1])
