"""The families of figures. Each module is one (`bench.frame.lab.Family`)."""

from bench.families import end, packing, reading, start, storage, throughput, verdict
from bench.frame.lab import Family

FAMILIES: tuple[Family, ...] = (start, end, throughput, reading, storage, packing, verdict)
"""In the order of the report."""
