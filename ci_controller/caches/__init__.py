"""Caches: which of them a job gets, and what is kept of those that it has packed."""

from ci_controller.caches.caches import Caches

__all__ = ["Caches"]
