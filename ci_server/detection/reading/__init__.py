"""Parsers for files of projects, which are neither trusted nor run."""
