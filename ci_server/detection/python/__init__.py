"""How to install and test a Python project."""
