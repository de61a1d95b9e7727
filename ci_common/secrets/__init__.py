"""Secrets: how they are kept, which values may be one, and how they are masked in what is shown."""
