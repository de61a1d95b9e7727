"""What becomes of a limit that a runtime cannot enforce."""

from collections.abc import Set

from ci_common.errors import LimitUnenforceable
from ci_common.settings import Settings
from ci_common.spec import Limits

KERNEL_LIMITS = frozenset({"cpus", "memory", "pids"})
"""The limits that the kernel enforces on a container. The controller sees to the others, on every runtime."""


def check_enforceable(limits: Limits, unenforced: Set[str], settings: Settings, *, why: str) -> None:
    """Raise LimitUnenforceable where `limits` has one of `unenforced`, unless `settings` lets it pass.

    `why` says what is missing, as the beginning of a sentence.
    """
    wanted = sorted(f"limits.{name}" for name in unenforced if getattr(limits, name) is not None)
    if wanted and settings.unenforced_limits == "refuse":
        raise LimitUnenforceable(
            f"{why}, so {' and '.join(wanted)} would do nothing; leave them out, or have them ignored by "
            "CI_UNENFORCED_LIMITS=ignore"
        )
