"""Readers: confined processes that read uploads, are killed when they exceed their limits, and replaced when they die.

`child` and `confinement` run in the reader. `pool` and `process` run in the process that starts the readers; both sides
use `channel`.
"""
