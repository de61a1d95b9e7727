"""From a directory to a plan: `projects` decides, `python_project` knows Python; the others read one kind of file each."""
