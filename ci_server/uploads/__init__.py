"""Uploads from the first byte to the directory of a stored job."""
