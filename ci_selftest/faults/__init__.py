"""Injects the faults of a self-test run."""
