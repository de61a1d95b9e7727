"""What `ci doctor` examines on the controller's side of an installation.

Nothing is changed: probe files and probe containers are removed again. Each module examines one subject within a time
limit and returns findings. What cannot be examined is a finding, too.
"""
