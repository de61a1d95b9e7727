"""The contract suite, on the process runtime."""

from ci_common.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.runtime.process import ProcessRuntime
from tests.contracts.runtime_suite import RuntimeContract


class TestProcessRuntime(RuntimeContract):
    image = "none"

    @staticmethod
    async def open_runtime(data: DataDirectory) -> ProcessRuntime:
        runtime = ProcessRuntime(Settings(data_dir=data.path), data)
        await runtime.open()
        return runtime
