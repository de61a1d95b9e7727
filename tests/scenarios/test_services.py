"""Jobs with services: when the job begins, how it ends where a service does, and what a controller that dies leaves."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode
from ci_common.spec import Retry
from ci_common.times import utc_now
from ci_controller.runtime.protocol import WorkloadKey
from ci_persistence.storage import Storage
from tests.engine.api import require_engine
from tests.helpers.crash_points import dying
from tests.helpers.installation import Installation, completed, installation_of, nothing_left
from tests.helpers.waiting import eventually
from tests.scenarios.invariants import Ending, check_invariants

SERVES = "echo up; exec nc -ll -p 9 -e /bin/echo served"
ASKS = "nc db 9 </dev/null"
GO = "while [ ! -e go ]; do sleep 0.05; done"
ENDLESS = "trap 'echo term; exit 9' TERM; exec 2>/dev/null; echo begun; while :; do sleep 0.05; done"


@pytest.fixture
def docker(tmp_path: Path, busybox_image: str) -> Installation:
    return installation_of(tmp_path, "docker", busybox_image)


def with_db(installation: Installation, command: str, **more: Any) -> dict[str, Any]:
    """Return the part of a plan that gives a job the service `db`."""
    return {"services": {"db": {"image": installation.image, "command": command, **more}}}


async def run(installation: Installation, *steps: str, **submission: Any) -> Job:
    """Run a job to its end, and return it once nothing of it is left."""
    job = await installation.submit(*steps, **submission)
    async with installation.storage() as storage, installation.controller() as parts:
        ended = await completed(storage, job.id)
        await nothing_left(parts.runtimes[installation.runtime])
    return ended


def remove_service(installation: Installation, job: Job) -> None:
    name = f"{installation.settings.container_prefix}ci-{job.id}-1-db"
    require_engine().request("DELETE", f"/containers/{name}", {"force": "1"})


async def waits_for_service(storage: Storage, job: Job) -> None:
    async def waits() -> bool:
        reason = (await storage.jobs.get(job.id)).reason
        return reason is not None and reason.code is ReasonCode.WAITING_FOR_SERVICES

    await eventually(waits, "the job waits for its service")


@pytest.mark.docker
class TestEnds:
    async def test_the_job_begins_once_its_service_is_ready(self, docker: Installation) -> None:
        late = with_db(docker, f"sleep 1; {SERVES}", health={"port": 9})
        job = await run(docker, ASKS, plan=late)
        assert (job.conclusion, docker.log_of(job)) == (Conclusion.SUCCEEDED, b"served\n")
        assert docker.data.run_of(job).service_log("db").read_bytes() == b"up\n"

    async def test_a_service_that_is_never_ready(self, docker: Installation) -> None:
        never = with_db(docker, "echo why; exec sleep 600", health={"port": 9}, ready_timeout=0.5)
        job = await run(docker, "echo ran", plan=never)
        assert job.reason is not None
        assert (job.conclusion, job.reason.code) == (Conclusion.ERRORED, ReasonCode.SERVICE_FAILED)
        assert "db was not ready within 0.5 s" in job.reason.message
        assert job.reason.message.endswith("its log ends with:\nwhy")
        assert (job.start_time, docker.log_of(job)) == (None, b"")
        assert docker.data.run_of(job).service_log("db").read_bytes() == b"why\n"

    async def test_a_service_that_dies_while_the_job_runs(self, docker: Installation) -> None:
        dies = with_db(docker, "sleep 1; echo why; exit 3")
        job = await run(docker, ENDLESS, plan=dies)
        assert job.reason is not None
        assert (job.conclusion, job.exit_code, job.reason.code) == (Conclusion.ERRORED, 9, ReasonCode.SERVICE_FAILED)
        assert job.reason.message == "the service db ended with exit code 3; its log ends with:\nwhy"
        assert job.error == job.reason.message
        assert docker.log_of(job) == b"begun\nterm\n"

    async def test_each_attempt_has_new_ones(self, docker: Installation) -> None:
        retry = Retry(max_attempts=2, backoff=0.01, max_backoff=0.01)
        counts = with_db(docker, "echo x >>/tmp/count; cat /tmp/count; exec nc -ll -p 9 -e /bin/cat /tmp/count")
        counts["services"]["db"]["health"] = "netstat -ltn | grep :9"
        job = await run(docker, f"{ASKS}; exit 1", plan=counts, retry=retry)
        logs = [docker.data.run(job.id, attempt).log.read_bytes() for attempt in (1, 2)]
        assert logs == [b"x\n", b"x\n"]
        assert all(docker.data.run(job.id, attempt).service_log("db").exists() for attempt in (1, 2))

    async def test_a_cancel_while_it_waits(self, docker: Installation) -> None:
        never = with_db(docker, "exec sleep 600", health={"port": 9})
        job = await docker.submit("echo ran", plan=never)
        async with docker.storage() as storage, docker.controller() as parts:
            await waits_for_service(storage, job)
            await storage.jobs.request_cancel(job.id, utc_now())
            ended = await completed(storage, job.id)
            await nothing_left(parts.runtimes["docker"])
        assert (ended.conclusion, docker.log_of(ended)) == (Conclusion.CANCELLED, b"")


@pytest.mark.docker
class TestControllersThatDie:
    async def test_while_the_job_waits_for_its_service(self, docker: Installation) -> None:
        job = await docker.submit(ASKS, plan=with_db(docker, f"sleep 2; {SERVES}", health={"port": 9}))
        async with docker.storage() as storage:
            crashing = docker.start_crashing_controller("no_such_call/1/before")
            await waits_for_service(storage, job)
            crashing.kill()
            await asyncio.to_thread(crashing.wait, 60)
            async with docker.controller() as parts:
                ending = Ending(Conclusion.SUCCEEDED, 0, b"served\n")
                await check_invariants(docker, storage, parts.runtimes["docker"], job.id, ending)

    @pytest.mark.parametrize("gone", [True, False])
    async def test_while_it_runs(self, docker: Installation, gone: bool) -> None:
        """A service that ends while no controller looks ends the job once one does."""
        job = await docker.submit(f"echo begun; {GO}; {ASKS}", plan=with_db(docker, SERVES))
        run = docker.data.run(job.id, 1)
        async with docker.storage() as storage:
            crashing = docker.start_crashing_controller("no_such_call/1/before")
            await eventually(lambda: docker.says(job, b"begun\n"), "the job runs")
            crashing.kill()
            await asyncio.to_thread(crashing.wait, 60)
            if gone:
                await asyncio.to_thread(remove_service, docker, job)
            async with docker.controller() as parts:
                if not gone:
                    (run.workspace / "go").touch()
                ended = await completed(storage, job.id)
                await nothing_left(parts.runtimes["docker"])
        if gone:
            assert ended.reason is not None
            assert ended.reason.message == "the service db was removed from outside"
        else:
            assert (ended.conclusion, docker.log_of(job)) == (Conclusion.SUCCEEDED, b"begun\nserved\n")

    @pytest.mark.parametrize("code", [5, 0])
    async def test_while_job_and_service_end(self, docker: Installation, code: int) -> None:
        """A job that fails after its service has ended names the service; one that succeeds has no reason."""
        dies = with_db(docker, "echo why; nc -l -p 9; exit 0", health="netstat -ltn | grep :9")
        job = await docker.submit(f"echo begun; {GO}; {ASKS}; exit {code}", plan=dies)
        run = docker.data.run(job.id, 1)
        async with docker.storage() as storage:
            async with docker.controller():
                await eventually(lambda: docker.says(job, b"begun\n"), "the job runs")
            (run.workspace / "go").touch()
            async with docker.runtime_of_its_own() as runtime:
                await eventually(lambda: runtime.failed_service(WorkloadKey(job.id, 1)), "the engine knows of it")
            await eventually(run.read_exit, "the job has ended")
            async with docker.controller() as parts:
                ended = await completed(storage, job.id)
                await nothing_left(parts.runtimes["docker"])
        message = f"the job's command ended with exit code {code} after the service db ended with exit code 0; its log"
        failed = Reason(ReasonCode.SERVICE_FAILED, f"{message} ends with:\nwhy")
        expected = (Conclusion.FAILED, failed) if code else (Conclusion.SUCCEEDED, None)
        assert (ended.conclusion, ended.reason, ended.exit_code) == (*expected, code)

    async def test_a_job_that_was_deleted_leaves_none(self, docker: Installation) -> None:
        """Neither a network nor a service without a row stays."""
        job = await docker.submit("echo ran", plan=with_db(docker, "exec sleep 600", health={"port": 9}))
        async with docker.storage() as storage:
            crashing = docker.start_crashing_controller("no_such_call/1/before")
            await waits_for_service(storage, job)
            crashing.kill()
            await asyncio.to_thread(crashing.wait, 60)
            await storage.jobs.request_cancel(job.id, utc_now())
            async with docker.controller() as parts:
                await completed(storage, job.id)
                await nothing_left(parts.runtimes["docker"])

    @pytest.mark.parametrize(
        "point",
        [
            *("make_network/2/before", "make_network/2/after", "make/3/before", "make/3/after", "until_ready/2/before"),
            *("until_ready/2/after", "offer/1/before", "offer/1/after"),
        ],
    )
    async def test_while_a_service_is_made_to_wait(self, docker: Installation, point: str) -> None:
        warm = replace(docker, environment={**docker.environment, "CI_POOL_SIZE": "2"})
        async with warm.storage() as storage, dying(warm, point) as controller:
            job = await warm.submit(ASKS, plan=with_db(docker, SERVES, health={"port": 9}))
            await completed(storage, job.id)
            assert await controller.end() == -9
        async with docker.runtime_of_its_own() as runtime, docker.controller():
            await nothing_left(runtime)
            await eventually(lambda: list(docker.data.pool.iterdir()) == [], "no waiting directory is left")


@pytest.mark.docker
class TestWarm:
    async def test_what_a_job_does_to_a_service_reaches_no_other_job(self, docker: Installation) -> None:
        shows = "while :; do nc -l -p 10 </tmp/kept; done"
        # Its input stays open: at the end of it, it would close the connection, maybe before the job has written.
        adds = "mkfifo /tmp/open; exec 3<>/tmp/open; while :; do nc -l -p 9 <&3 >>/tmp/kept; done"
        poisons = with_db(docker, f"touch /tmp/kept; {shows} & {adds}", health="netstat -ltn | grep :9")
        warm = replace(docker, environment={**docker.environment, "CI_POOL_SIZE": "2"})
        step = "echo $RANDOM | nc db 9; until nc db 10 </dev/null >got && [ -s got ]; do sleep 0.1; done; wc -l <got"
        async with warm.storage() as storage, warm.controller():
            for way in (StartWay.COLD, StartWay.WARM, StartWay.WARM):
                job = await completed(storage, (await warm.submit(step, plan=poisons)).id)
                assert (job.start_way, warm.log_of(job)) == (way, b"1\n")

                async def waits() -> bool:
                    return (await storage.pool.get()).waiting == 1

                await eventually(waits, "a container waits with its service")
        async with docker.runtime_of_its_own() as runtime, docker.controller():
            await nothing_left(runtime)

    async def test_a_service_waits_with_the_container(self, docker: Installation) -> None:
        plan = with_db(docker, SERVES, health={"port": 9})
        warm = replace(docker, environment={**docker.environment, "CI_POOL_SIZE": "2"})

        async with warm.storage() as storage, warm.controller() as parts:
            first = await completed(storage, (await warm.submit(ASKS, plan=plan)).id)

            async def waits() -> bool:
                return (await storage.pool.get()).waiting == 1

            await eventually(waits, "a container waits with its service")
            second = await completed(storage, (await warm.submit(ASKS, plan=plan)).id)
            assert (first.start_way, second.start_way) == (StartWay.COLD, StartWay.WARM)
            assert warm.log_of(second) == b"served\n"
            assert warm.data.run_of(second).service_log("db").read_bytes() == b"up\n"
            await eventually(waits, "another one waits")
            (waiting,) = [each for each in await parts.runtimes["docker"].list_workloads() if each.profile is not None]
            name = f"{warm.settings.container_prefix}ci-{waiting.key.job_id}-0-db"
            await asyncio.to_thread(require_engine().request, "DELETE", f"/containers/{name}", {"force": "1"})

            async def is_another() -> bool:
                listed = await parts.runtimes["docker"].list_workloads()
                return waiting.key not in {each.key for each in listed} and await waits()

            await eventually(is_another, "it is replaced when its service has gone")
        async with docker.runtime_of_its_own() as runtime, docker.controller():
            await nothing_left(runtime)


class TestWithoutEngine:
    async def test_one_that_is_cancelled_before_it_starts(self, tmp_path: Path) -> None:
        """It has no directory, and nothing to ask an engine for."""
        processes = installation_of(tmp_path, "process", "none")
        job = await processes.submit("echo ran", plan=with_db(processes, "true"))
        async with processes.storage() as storage:
            await storage.jobs.request_cancel(job.id, utc_now())
            async with processes.controller():
                ended = await completed(storage, job.id)
        assert ended.conclusion is Conclusion.CANCELLED
        assert not processes.data.run(job.id, 1).services.exists()

    @pytest.mark.parametrize("services", [["db"], {"db": "image"}, {"db": {}}, "db", {"db": {"image": 7}}], ids=str)
    async def test_a_plan_that_is_not_valid_holds_up_no_other_job(self, tmp_path: Path, services: Any) -> None:
        processes = installation_of(tmp_path, "process", "none")
        job = processes.shell_job("echo ran")
        broken = replace(job, plan={**(job.plan or {}), "services": services})
        processes.data.create()
        async with processes.storage() as storage:
            await storage.jobs.add(broken, max_queued=1000)
            other = await processes.submit("echo ran")
            async with processes.controller():
                assert (await completed(storage, other.id)).conclusion is Conclusion.SUCCEEDED
                assert (await completed(storage, broken.id)).conclusion is Conclusion.ERRORED

    async def test_it_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        processes = installation_of(tmp_path, "process", "none")
        job = await run(processes, "echo ran", plan=with_db(processes, "true"))
        assert job.reason is not None
        assert (job.conclusion, job.reason.code) == (Conclusion.ERRORED, ReasonCode.LIMIT_UNENFORCEABLE)
        assert "services.db cannot run; use a container engine" in job.reason.message

    async def test_it_may_be_ignored(self, tmp_path: Path) -> None:
        processes = installation_of(tmp_path, "process", "none")
        ignoring = {**processes.environment, "CI_UNENFORCED_LIMITS": "ignore"}
        job = await run(replace(processes, environment=ignoring), "echo ran", plan=with_db(processes, "true"))
        assert (job.conclusion, processes.log_of(job)) == (Conclusion.SUCCEEDED, b"ran\n")
