"""The families of figures. Each module is one (`bench.frame.lab.Family`)."""

from bench.families import (
    database,
    end,
    first,
    guards,
    packing,
    page,
    reading,
    reports,
    rerun,
    start,
    storage,
    throughput,
    tools,
    upload,
    verdict,
)
from bench.frame.lab import Family

FAMILIES: tuple[Family, ...] = (
    *(start, end, throughput, reading, storage, database),
    *(packing, upload, verdict, rerun, tools, first, reports, guards, page),
)
"""In the order of the report."""
