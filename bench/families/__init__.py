"""The families of figures. Each module is one (`bench.frame.lab.Family`)."""

from bench.families import (
    database,
    end,
    first,
    packing,
    reading,
    reports,
    rerun,
    start,
    storage,
    throughput,
    upload,
    verdict,
)
from bench.frame.lab import Family

FAMILIES: tuple[Family, ...] = (
    *(start, end, throughput, reading, storage, database),
    *(packing, upload, verdict, rerun, first, reports),
)
"""In the order of the report."""
