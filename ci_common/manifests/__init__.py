"""Uploads by manifest: a list of files with their digests, and packs with the contents that the server lacks."""
