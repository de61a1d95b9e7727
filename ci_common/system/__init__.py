"""Utilities for the operating system and asyncio, which know nothing of jobs."""
