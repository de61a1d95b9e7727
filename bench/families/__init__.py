"""What is measured. Each module is a family (`bench.frame.model.Family`)."""

from importlib import import_module
from importlib.util import find_spec

from bench.families import end, peers, reading, start, throughput
from bench.frame.model import Family

_MEASURED_BY = {"storage": "bench.store"}


def _present() -> list[Family]:
    return [import_module(f"bench.families.{name}") for name, module in _MEASURED_BY.items() if find_spec(module)]


FAMILIES: tuple[Family, ...] = (start, end, throughput, reading, *_present(), peers)
"""In the order of the report."""
