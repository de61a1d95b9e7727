"""Detects how to run an unpacked project, and makes the plan of its job.

`projects` decides: the request, then `ci.yaml`, then what the files of a Python project declare. `python/` decides
what to install, `declarations/` knows the files and tables of each tool, and `reading/` parses them. No code of a
project is run.
"""
