"""A runtime of which only a controller that leads can change anything."""

from typing import Any, cast

from ci_controller.runtime.protocol import Check, LocalRuntime


def guarded(runtime: LocalRuntime, check: Check) -> LocalRuntime:
    """Return `runtime` with `check` called before every method that is `leader_only`."""
    return cast(LocalRuntime, _Guarded(runtime, check))


class _Guarded:
    def __init__(self, runtime: LocalRuntime, check: Check) -> None:
        self._runtime = runtime
        self._check = check

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._runtime, name)
        if not getattr(getattr(LocalRuntime, name, None), "leader_only", False):
            return attribute

        async def checked(*args: Any, **kwargs: Any) -> Any:
            self._check()
            return await attribute(*args, **kwargs)

        return checked
