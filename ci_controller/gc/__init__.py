"""Removes what no job needs any more."""
