"""Detects how to run an unpacked project, and makes the plan of its job.

`projects` decides: the request, then `ci.yaml`, then what the files of a project declare. `choice` chooses the
language. `node/`, `golang`, `rust` and `python/` decide what to install and to run, `declarations/` knows the files and
tables of each tool for Python, and `reading/` parses them. No code of a project is run.
"""
