"""The vocabulary that all packages share: jobs, types, specs, errors, settings, and the layout of the run directory."""
