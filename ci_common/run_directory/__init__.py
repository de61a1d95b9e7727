"""The files of an attempt: their layout, and its output (log and steps)."""
