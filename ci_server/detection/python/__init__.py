"""Decides how to install and test a Python project."""
