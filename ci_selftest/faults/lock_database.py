"""`python -m ci_selftest.faults.lock_database SECONDS`: lock the database that the settings name, as a backup might.

It waits for the lock, and writes `locked` to standard output once it has it.
"""

import sys

from ci_common.settings import Settings
from ci_persistence.scratch import hold_lock


def main(seconds: float) -> None:
    """Hold the lock for `seconds`."""
    hold_lock(Settings.from_env().database, seconds, lambda: print("locked", flush=True))


if __name__ == "__main__":
    main(float(sys.argv[1]))
