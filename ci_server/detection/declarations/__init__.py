"""What the files of a Python project declare: dependencies, groups, indexes, sources."""
