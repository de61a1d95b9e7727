"""Secrets of jobs: their values when an attempt starts, and masking them in what it leaves."""
