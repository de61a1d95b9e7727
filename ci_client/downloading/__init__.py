"""Saving artifacts of a job as files."""
