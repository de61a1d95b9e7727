"""Writes the run directory of an attempt: its files, its scripts, its workspace, its gate."""
