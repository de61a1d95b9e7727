"""The rights and limits of containers, as the engine takes them.

The engine's own profile of system calls (seccomp) is kept, since nothing here names another.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

from ci_common.settings import Settings
from ci_common.spec_parts.values import KernelLimits
from ci_controller.runtime.docker.engine import Traits

_LEAST_CPUS = 0.01  # The engine refuses less.


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds the containers of one installation back."""

    settings: Settings
    has_defaults: bool = True
    """Whether containers that name no limit are held to those of the settings."""

    def without_limits(self) -> Self:
        """Return the same rights, without any limit that the settings set."""
        return replace(self, has_defaults=False)

    def options(self, limits: KernelLimits, traits: Traits, *, own_processes: int = 0) -> dict[str, Any]:
        """Return the part of HostConfig with the rights and limits of a container that asks for these limits.

        `own_processes` are those that run in it for us, and do not count.
        """
        settings = self.settings
        return {
            "CapDrop": ["ALL"],
            "CapAdd": list(settings.capabilities),
            "SecurityOpt": ["no-new-privileges"] if settings.new_privileges == "refuse" else [],
            "IpcMode": "private",
            **self._limits(limits, traits, own_processes),
        }

    def _limits(self, limits: KernelLimits, traits: Traits, own_processes: int) -> dict[str, Any]:
        settings = self.settings
        # The engine refuses more processors than it has.
        most_cpus = min(traits.processors, settings.max_cpus.of(traits.processors))
        cpus = self._bound("cpus", limits.cpus, settings.default_cpus.of(traits.processors), most_cpus, traits)
        whole = traits.memory or 2**62
        memory = self._bound(
            "memory", limits.memory, settings.default_memory.of(whole), settings.max_memory.of(whole), traits
        )
        pids = self._bound("pids", limits.pids, settings.default_pids, settings.max_pids, traits)
        options: dict[str, Any] = {}
        if cpus is not None:
            options["NanoCpus"] = round(max(_LEAST_CPUS, cpus) * 1e9)
        if memory is not None:
            options |= {"Memory": int(memory), "MemorySwap": int(memory)}
            if not traits.counts_swap:
                options["MemorySwappiness"] = 0  # What is swapped would not count, so nothing may be.
        if pids is not None:
            options["PidsLimit"] = int(pids) + own_processes
        return options

    def _bound(self, name: str, asked: float | None, default: float, most: float, traits: Traits) -> float | None:
        """Return the limit that holds; None is no limit, as for one that is not asked for, which the engine drops."""
        if asked is None and (not self.has_defaults or name in traits.unenforced):
            return None
        return min(default if asked is None else asked, most)
