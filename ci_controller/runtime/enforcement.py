"""Refuses jobs that ask a runtime for what it cannot keep."""

from collections.abc import Set

from ci_common.runtime_faults import LimitUnenforceable
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Limits

KERNEL_LIMITS = frozenset({"cpus", "memory", "pids"})
"""The limits that the kernel enforces on a container. The controller enforces the others, on every runtime."""


def check_enforceable(limits: Limits, unenforced: Set[str], settings: Settings, *, why: str) -> None:
    """Raise LimitUnenforceable if `limits` has one of `unenforced`, unless `settings` allows that.

    `why` says what is missing, as the beginning of a sentence.
    """
    wanted = sorted(f"limits.{name}" for name in unenforced if getattr(limits, name) is not None)
    if wanted and settings.unenforced_limits == "refuse":
        raise LimitUnenforceable(
            f"{why}, so {' and '.join(wanted)} would do nothing; leave them out, or have them ignored by "
            "CI_UNENFORCED_LIMITS=ignore"
        )


def check_services(plan: ExecutionPlan, settings: Settings, *, why: str) -> None:
    """Raise LimitUnenforceable if `plan` has services, unless `settings` has what cannot be kept ignored."""
    if plan.services and settings.unenforced_limits == "refuse":
        raise LimitUnenforceable(
            f"{why}, so {' and '.join(f'services.{name}' for name in plan.services)} cannot run; use a container "
            "engine (CI_RUNTIME=docker), or have the job run without them by CI_UNENFORCED_LIMITS=ignore"
        )
