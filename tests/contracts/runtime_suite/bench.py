"""What the suite of the `Runtime` protocol works with."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio

from ci_common.run_directory.layout import DataDirectory
from ci_controller.runtime.protocol import Runtime
from tests.contracts.runtime_suite.trial import Lifeline, Trial, make_spec

READY = ": >ready"
"""Shell text by which a job tells that it has begun."""
FOREVER = "while :; do sleep 0.02; done"
"""Shell text that ends only by a signal."""

MakeTrial = Callable[..., Trial]
"""Takes steps as shell text, and any other fields of the plan by name."""
MakeLifeline = Callable[[Trial], Lifeline]


class RuntimeBench:
    """The fixtures, and what an implementation gives: its image and how to open it."""

    image: ClassVar[str]

    @staticmethod
    async def open_runtime(data: DataDirectory) -> Runtime:
        """Return a new, opened runtime of the installation whose data directory this is.

        Called again with the same directory it is the runtime of a controller that was started again, while the first
        one may still be there, or may have been killed. Callable from another process by the class's module and name.
        """
        raise NotImplementedError

    @pytest.fixture
    def data(self, tmp_path: Path) -> DataDirectory:
        directory = DataDirectory(tmp_path / "data")
        directory.create()
        return directory

    @pytest_asyncio.fixture
    async def runtime(self, data: DataDirectory) -> AsyncIterator[Runtime]:
        runtime = await self.open_runtime(data)
        try:
            yield runtime
        finally:
            for each in await runtime.list_workloads():
                await runtime.remove(each.key)
            await runtime.close()

    @pytest_asyncio.fixture
    async def restarted(self, data: DataDirectory, runtime: Runtime) -> AsyncIterator[Runtime]:
        """A second runtime of the same installation, as a controller that was started again has it."""
        restarted = await self.open_runtime(data)
        yield restarted
        await restarted.close()

    @pytest.fixture
    def trial(self, runtime: Runtime, data: DataDirectory) -> MakeTrial:
        def make(*steps: str, **plan: object) -> Trial:
            return Trial(runtime, make_spec(runtime, data, self.image, *steps, **plan))

        return make

    @pytest.fixture
    def lifelines(self) -> Iterator[MakeLifeline]:
        made: list[Lifeline] = []

        def make(trial: Trial) -> Lifeline:
            made.append(Lifeline(trial.workspace / "lifeline"))
            return made[-1]

        yield make
        for lifeline in made:
            lifeline.close()
