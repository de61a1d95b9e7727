"""Containers that wait for their jobs, so that a job need not wait for its container."""

from ci_controller.pool.pool import Pool

__all__ = ["Pool"]
