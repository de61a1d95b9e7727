"""How long a thread of this process keeps Python's interpreter while others wait for it.

Event loop and database run in threads of their own, each for fractions of a millisecond at a time. With Python's usual
5 ms a commit that comes back from the disk waits so long for a loop that is busy, and a job waits with it.
"""

import sys

SWITCH_SECONDS = 0.0005


def take_short_turns() -> None:
    """Let threads take turns ten times as often as they usually do."""
    sys.setswitchinterval(SWITCH_SECONDS)
