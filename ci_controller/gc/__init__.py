"""Removes what is no longer needed: one runner, and a collector for each kind of garbage."""
