"""How jobs are carried out: the `Execution` protocol and its implementations."""
