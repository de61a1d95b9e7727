"""`ci selftest`: proves the product's promises on the user's own machine, with real jobs while parts are killed.

`run.py` is one run from its beginning to its table. `jobs/plans.py` and `schedule.py` derive the jobs and the faults
from a seed, and `jobs/checks.py` decides what counts as a broken promise; these three have no side effects.

Its function is frozen: what it promises is in docs/selftest.md, and new kinds of faults belong to the tests.
"""
