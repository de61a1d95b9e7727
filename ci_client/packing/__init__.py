"""Packs a directory into a zip archive: which files belong to it, and the archive itself."""
