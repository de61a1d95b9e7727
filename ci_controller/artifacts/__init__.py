"""Artifacts: which files of an attempt are kept, and keeping them."""

from ci_controller.artifacts.artifacts import Artifacts

__all__ = ["Artifacts"]
