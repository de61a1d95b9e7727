"""Reports that a job leaves: tests as JUnit XML, coverage as Cobertura or LCOV.

`tasks`, `junit`, `places`, `coverage` and `files` run in a reader (`ci_common.sandbox`); `collecting` has what they
found stored.
"""

from ci_controller.reports.collecting import Reports

__all__ = ["Reports"]
