"""The command `ci`: what it prints and asks, on the client library."""

import sys

# httpx imports rich and more for a command line of its own where they are installed: half of the time to import it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
