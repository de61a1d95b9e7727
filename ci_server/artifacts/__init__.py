"""The artifacts of jobs over HTTP."""
