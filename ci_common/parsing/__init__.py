"""Checks of text, numbers, hosts and model fields that requests, settings and files have in common."""
