"""Zip archives that are not trusted: which members they may have, and how they are unpacked."""
