"""What the files of a Python project declare: dependencies, extras, groups, package indexes and sources."""
