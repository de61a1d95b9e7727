"""A Docker engine and images for the tests, from the standard library and Debian's packages alone.

`python -m tests.engine COMMAND` runs a command with an engine: the one that answers, else a private one that is
installed where that is possible, started for the command and stopped after it.
"""
