"""From a directory to a plan: `projects` decides, `python_project` knows Python, each other module one kind of file."""
