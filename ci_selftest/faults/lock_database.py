"""`python -m ci_selftest.faults.lock_database PATH SECONDS`: lock a database, as a backup might.

It waits for the lock, and writes `locked` to standard output once it has it.
"""

import sqlite3
import sys
import time

_PATIENCE_SECONDS = 60.0


def main(path: str, seconds: float) -> None:
    """Hold the lock for `seconds`."""
    connection = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    print("locked", flush=True)
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
