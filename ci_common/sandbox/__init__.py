"""Processes that read what strangers wrote: confined, killed when they take too much, and replaced when they die.

The program is `child`. All else runs in the process that asks: `pool` for many requests, `unpacking` for one archive.
"""
