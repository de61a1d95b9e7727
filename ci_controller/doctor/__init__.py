"""What `ci doctor` finds out about the controller's side of an installation.

Nothing is changed: probe files and probe containers are removed again. Each module looks at one subject, in bounded
time, and returns findings; what cannot be looked at is a finding, too.
"""
