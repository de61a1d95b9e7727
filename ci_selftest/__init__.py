"""Proves the product's promises on the user's own machine: real jobs, known byte for byte, while parts are killed.

`chaos.py` is one run from its beginning to its table. `plans.py` and `schedule.py` say what a seed stands for,
`checks.py` what counts as a broken promise; none of the three does anything. The rest carries it out.
"""
