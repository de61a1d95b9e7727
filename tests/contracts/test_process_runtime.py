"""The contract suite, on the process runtime."""

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import LimitUnenforceable
from ci_common.settings import Settings
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.process.runtime import ProcessRuntime
from tests.contracts.runtime_suite import RuntimeContract
from tests.contracts.runtime_suite.bench import MakeTrial

pytestmark = pytest.mark.slow


class TestProcessRuntime(RuntimeContract):
    image = "none"

    @staticmethod
    async def open_runtime(data: DataDirectory) -> ProcessRuntime:
        runtime = ProcessRuntime(Settings(data_dir=data.path), data)
        await runtime.open()
        return runtime

    @pytest.mark.parametrize("limits", [{"memory": "1g"}, {"cpus": 1}, {"pids": 10, "log": "1m"}])
    async def test_limits_that_need_a_container_are_refused(self, trial: MakeTrial, limits: dict[str, object]) -> None:
        one = trial("true", limits=limits)
        with pytest.raises(LimitUnenforceable, match=rf"limits\.{next(iter(limits))} would do nothing"):
            await one.runtime.create(one.spec)
        assert await one.phase() is WorkloadPhase.ABSENT

    async def test_or_ignored_where_the_settings_say_so(self, trial: MakeTrial, data: DataDirectory) -> None:
        one = trial("true", limits={"memory": "1g", "cpus": 1, "pids": 10})
        lenient = ProcessRuntime(Settings(data_dir=data.path, unenforced_limits="ignore"), data)
        await lenient.create(one.spec)
        assert await one.phase() is WorkloadPhase.CREATED
