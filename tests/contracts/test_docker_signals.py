"""Signals from within a container to all of its processes: the script, which is the first, outlives them."""

import pytest

from ci_controller.runtime.protocol import Runtime
from tests.contracts.docker_bench import DockerBench
from tests.contracts.runtime_suite.bench import FOREVER, READY, MakeTrial
from tests.helpers.scripts import end_of

TO_ALL = ["kill -9 -1", "kill -TERM -1", "kill -STOP -1", "kill -STOP 1; kill -9 1; kill -9 $PPID"]


class TestSignals(DockerBench):
    @pytest.mark.parametrize("text", TO_ALL)
    async def test_a_step_may_signal_everything(self, trial: MakeTrial, text: str) -> None:
        """Also what carries the console into the log: without it, the second step would wait for a reader for ever."""
        one = trial(f"trap '' TERM; {text}; echo one", "head -c 200000 /dev/zero | tr '\\0' x >/dev/stderr; echo two")
        assert (await one.execute()).exit_code == 0
        assert end_of(one.run) == (0, False)
        record = one.run.read_exit()
        assert record is not None
        assert record.last
        written = one.run.log.read_bytes()
        assert (len(written), written.count(b"x")) == (200_008, 200_000)
        assert written.startswith(b"one\n")

    async def test_a_step_that_is_killed_with_everything_has_failed(self, trial: MakeTrial) -> None:
        one = trial("echo one", "(sleep 0.1; kill -9 -1) & sleep 60", "echo never")
        await one.execute()
        assert end_of(one.run) == (137, False)
        assert b"never" not in one.run.log.read_bytes()

    async def test_a_job_that_has_killed_everything_can_be_stopped(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial("kill -9 -1", f"trap 'exit 6' TERM; {READY}; {FOREVER}")
        await one.running()
        await runtime.stop(one.key, 30)
        assert end_of(one.run) == (6, True)

    @pytest.mark.parametrize(
        "text", ["rm -rf /ci/stop /ci/gate", "rm /ci/stop; : >/ci/stop", "kill -9 -1", "kill -STOP -1"]
    )
    async def test_a_stop_reaches_a_job_that_has_removed_the_way(
        self, trial: MakeTrial, runtime: Runtime, text: str
    ) -> None:
        one = trial(f"{text}; trap 'exit 6' TERM; {READY}; {FOREVER}")
        await one.running()
        await runtime.stop(one.key, 30)
        assert end_of(one.run) == (6, True)
