"""What a script in a container says of its end: that it is the last of the job's processes, where it is."""

import json

import pytest

from ci_common.layout import DataDirectory, ExitRecord
from ci_controller.runtime.protocol import Runtime
from tests.contracts.docker_bench import DockerBench, container_name
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine.api import EngineAPI, require_engine
from tests.engine.images import user_image
from tests.helpers.waiting import eventually

FAMILY = 'f() { echo "$1"; [ "$1" -gt 200000 ] || f $(($1 + 1)) & }; f 0'
"""Each process makes another one and goes: whoever lists them may have missed the next."""
MANY = "for i in 1 2 3 4 5 6 7 8; do (trap '' TERM; while :; do echo noise; done) & done"
DETACHED = "(trap '' HUP; while :; do echo noise; done) >/dev/stderr 2>&1 &"


async def ended(one: Trial) -> tuple[ExitRecord, int]:
    """Return the record of a trial as soon as there is one, and the log's length then."""
    record = await eventually(one.run.read_exit, "the script has ended", timeout=60)
    return record, one.run.log_size()


class TestEnds(DockerBench):
    @pytest.mark.parametrize("left", ["true", MANY, FAMILY, DETACHED], ids=["none", "many", "family", "detached"])
    async def test_nothing_is_written_once_the_script_says_it_is_the_last(self, trial: MakeTrial, left: str) -> None:
        one = trial(f"{left}\nexit 3")
        await one.to_gate()
        await one.through_gate()
        record, size = await ended(one)
        assert (record.code, record.last, record.oom_kills) == (3, True, 0)
        await one.end()
        assert one.run.log_size() == size

    async def test_what_a_signal_finds_ending_has_its_whole_log(self, trial: MakeTrial) -> None:
        one = trial("seq 100000 >/dev/stderr; kill -TERM $PPID; exit 0")
        await one.execute()
        record, size = await ended(one)
        assert (record.code, record.terminated, record.last) == (0, True, True)
        assert size == len("".join(f"{number}\n" for number in range(1, 100001)))

    async def test_a_process_that_cannot_be_killed_is_not_denied(
        self, runtime: Runtime, data: DataDirectory, engine: EngineAPI
    ) -> None:
        text = "until [ -e up ]; do sleep 0.02; done; exit 5"
        one = Trial(runtime, make_spec(runtime, data, user_image(require_engine()), text))
        await one.to_gate()
        await one.through_gate()
        await self.execute_as_root(engine, one, ": >/ci/workspace/up; while :; do echo more >>/ci/log; done")
        record, _ = await ended(one)
        assert (record.code, record.last) == (5, False)
        await one.end()

    async def execute_as_root(self, engine: EngineAPI, one: Trial, text: str) -> None:
        """Start a process in the trial's container, as `docker exec --detach --user 0` does."""
        body = {"Cmd": ["/bin/sh", "-c", text], "User": "0"}
        made = json.loads(engine.request("POST", f"/containers/{container_name(one.key)}/exec", body=body))
        engine.request("POST", f"/exec/{made['Id']}/start", body={"Detach": True})
