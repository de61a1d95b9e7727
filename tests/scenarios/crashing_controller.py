"""A controller that kills itself with SIGKILL at one chosen call: `python crashing_controller.py POINT`.

POINT is `<call>/<n>/<before|after>`: the n-th call of that method of the repository or of a runtime, counted from 1.
Settings come from the environment, as for any controller.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

from ci_common.settings import Settings
from ci_controller.main import assembled, control


class Mortal:
    """Passes everything on to `target`, and dies at the chosen call."""

    def __init__(self, target: Any, point: str, calls: Counter[str]) -> None:
        self._target = target
        self._name, number, self._moment = point.split("/")
        self._number = int(number)
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        return self._deadly(attribute) if name == self._name else attribute

    def _deadly(self, method: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._calls[self._name] += 1
            chosen = self._calls[self._name] == self._number
            if chosen and self._moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = await method(*args, **kwargs)
            if chosen:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


async def main(point: str) -> None:
    calls: Counter[str] = Counter()
    async with assembled(Settings.from_env()) as parts:
        runtimes = {name: Mortal(runtime, point, calls) for name, runtime in parts.runtimes.items()}
        await control(replace(parts, runtimes=runtimes, repository=Mortal(parts.repository, point, calls)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
