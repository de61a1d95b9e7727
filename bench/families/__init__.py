"""What is measured. Each module is a family (`bench.frame.model.Family`)."""

from bench.families import end, peers, start, throughput
from bench.frame.model import Family

FAMILIES: tuple[Family, ...] = (start, end, throughput, peers)
"""In the order of the report."""
