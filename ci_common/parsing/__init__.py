"""Checks that requests, settings and files have in common: of text, values, hosts and models."""
