"""Prepared environments: which one a job starts from, and making those that are missing."""

from ci_controller.environments.environments import Environments

__all__ = ["Environments"]
