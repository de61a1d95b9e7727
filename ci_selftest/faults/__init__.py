"""The faults of a self-test run, and the means to inject them."""
