"""Parsers for files of projects, none of which is trusted or run."""
