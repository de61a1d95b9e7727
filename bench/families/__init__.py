"""What is measured. Each module is a family (`bench.frame.model.Family`)."""

from bench.families import end, packing, peers, reading, start, storage, throughput
from bench.frame.model import Family

FAMILIES: tuple[Family, ...] = (start, end, throughput, reading, storage, packing, peers)
"""In the order of the report."""
