"""The vocabulary every room shares: jobs, states, wire models, errors, settings, the run directory's layout."""
