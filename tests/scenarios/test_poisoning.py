"""What a job or a setup may try in order to change what other jobs start from, install or see; none of it succeeds."""

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.environments import Environment, PlannedSetup
from ci_common.jobs import Conclusion, Job
from ci_common.run_directory.inputs import digest_of
from ci_persistence.storage import Storage
from tests.engine.api import require_engine
from tests.engine.images import python_image, volume_image
from tests.helpers.installation import Installation, completed, installation_of, nothing_left
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.docker

INPUT = {"deps.txt": "one\n"}


@pytest.fixture
async def installation(tmp_path: Path, busybox_image: str) -> AsyncIterator[Installation]:
    """One with warm containers; the images of its environments go with the test."""
    installation = installation_of(tmp_path, "docker", busybox_image)
    yield replace(installation, environment={**installation.environment, "CI_POOL_SIZE": "4"})
    async with installation.storage() as storage:
        ours = f"label=ci-server.installation={(await storage.installations.get()).id}"
    listed = subprocess.run(["docker", "image", "ls", "-aq", "--filter", ours], capture_output=True, text=True)
    for image in {*listed.stdout.split()}:
        subprocess.run(["docker", "image", "rm", "--force", image], capture_output=True)


class Jobs:
    """Jobs of one installation with a controller."""

    def __init__(self, installation: Installation, storage: Storage) -> None:
        self.installation = installation
        self.storage = storage

    async def submit(
        self,
        setup: str,
        step: str,
        *,
        files: dict[str, str] | None = None,
        plan: dict[str, Any] | None = None,
        **job: Any,
    ) -> Job:
        """Store a job with this setup, whose input is `deps.txt`, and this step."""
        files = {**INPUT, **(files or {})}
        source = self.installation.directory / "source"
        source.mkdir(exist_ok=True)
        (source / "deps.txt").write_text(files["deps.txt"])
        planned = PlannedSetup(steps=1, inputs=("deps.txt",), digest=digest_of(source, ["deps.txt"]))
        return await self.installation.submit(setup, step, files=files, plan={"setup": planned, **(plan or {})}, **job)

    async def run(self, setup: str, step: str, **more: Any) -> tuple[Job, str]:
        """Return a job that has succeeded, and its log."""
        job = await completed(self.storage, (await self.submit(setup, step, **more)).id)
        assert job.conclusion is Conclusion.SUCCEEDED, (job.reason, self.installation.log_of(job))
        return job, self.installation.log_of(job).decode()

    async def prepared(self, number: int = 1) -> list[Environment]:
        """Return the environments once there are so many."""

        async def there() -> list[Environment] | None:
            found = await self.storage.environments.list(limit=10)
            return found if len(found) == number else None

        found = await eventually(there, f"{number} environments are there")
        assert found is not None
        return found

    async def warm(self) -> None:
        """Return once the container of an environment waits."""

        async def there() -> bool:
            kinds = (await self.storage.pool.get()).kinds
            return any(kind.image.startswith("sha256:") and kind.waiting for kind in kinds)

        await eventually(there, "a container of the environment waits")


@asynccontextmanager
async def jobs_on(installation: Installation) -> AsyncIterator[Jobs]:
    async with installation.storage() as storage, installation.controller():
        yield Jobs(installation, storage)
    async with (
        installation.runtime_of_its_own() as runtime,
        replace(installation, environment={**installation.environment, "CI_POOL_SIZE": "0"}).controller(),
    ):
        await nothing_left(runtime)


def hit(job: Job) -> bool:
    return job.environment is not None and job.environment.hit


async def test_site_packages_of_the_prepared_environment(installation: Installation) -> None:
    setup = "echo 'VALUE = \"good\"' >$(python -c 'import site; print(site.getsitepackages()[0])')/dep.py"
    use = "python -c 'import dep; print(dep.VALUE)'"
    poison = f"""
{use}
cd $(python -c 'import site; print(site.getsitepackages()[0])')
echo 'VALUE = "poison"' >dep.py
echo 'print("poison")' >sitecustomize.py
echo 'import sys; print("poison")' >poison.pth
rm -f __pycache__/dep.*; python -m compileall -q . >/dev/null || :
chmod -R a-w . || :
"""
    python = replace(installation, image=await asyncio.to_thread(python_image, require_engine()))
    async with jobs_on(python) as jobs:
        await jobs.run(setup, poison)
        await jobs.prepared()
        for _ in range(3):
            await jobs.warm()
            job, log = await jobs.run(setup, poison)
            assert (hit(job), job.start_way) == (True, StartWay.WARM)
            assert log.splitlines()[1:] == ["good"]


async def test_the_installer_is_not_the_jobs_to_change(installation: Installation) -> None:
    step = """
[ -x /ci-tools/uv ] && echo there
for act in 'echo poison >/ci-tools/uv' 'rm -f /ci-tools/uv' 'chmod 0 /ci-tools/uv' \
    'mount -o remount,rw /ci-tools/uv' 'umount /ci-tools/uv' 'cp /bin/busybox /ci-tools/uv'; do
    if sh -c "$act" 2>/dev/null; then echo "done: $act"; fi
done
echo cache ${UV_CACHE_DIR:-none} ${PIP_CACHE_DIR:-none}
"""
    async with jobs_on(installation) as jobs:
        await jobs.run(":", ":", plan={"python_environment": True})
        (copy,) = installation.data.tools.iterdir()
        before = hashlib.sha256(copy.read_bytes()).hexdigest(), copy.stat().st_mode
        for _ in range(2):
            _, log = await jobs.run(":", step, plan={"python_environment": True})
            assert log.splitlines()[-2:] == ["there", "cache none none"]
        assert (hashlib.sha256(copy.read_bytes()).hexdigest(), copy.stat().st_mode) == before
        assert [each.name for each in installation.data.tools.iterdir()] == [copy.name]


SEES_DOWNLOADS = """
if [ -d /ci-downloads ]; then
    cat /ci-downloads/uv/mark >/seen 2>/dev/null || echo nothing >/seen
    mkdir -p /ci-downloads/uv /ci-downloads/pip && echo {mark} | tee /ci-downloads/uv/mark >/ci-downloads/pip/mark
    ln -s /etc /ci-downloads/link; ln -sfn ../.. /ci-downloads/up
else
    echo 'not seen' >/seen
fi
"""
READS = """
cat /seen
for each in /ci-downloads /ci/downloads ../../downloads ../../../downloads; do ls $each; done 2>&1 | grep -c mark || :
"""


@pytest.mark.parametrize("other", [{"project": "b"}, {"owner": "other", "project": "a"}, {"project": None}], ids=str)
async def test_the_downloads_of_another_project(installation: Installation, other: dict[str, Any]) -> None:
    """Setups of one project share them, whatever their key; no job sees them."""
    setup = SEES_DOWNLOADS.format(mark="a")
    async with jobs_on(installation) as jobs:
        _, log = await jobs.run(setup, READS, project="a")
        assert log.splitlines() == ["not seen", "0"]
        await jobs.prepared(1)
        _, log = await jobs.run(setup, READS, project="a")
        assert log.splitlines()[1:] == ["nothing", "0"]
        for number, files, seen, whose in (
            (2, {"deps.txt": "two\n"}, "a", {"project": "a"}),
            (3, {}, "nothing", other),
        ):
            job, _ = await jobs.run(setup, READS, files=files, **whose)
            assert not hit(job)
            await jobs.prepared(number)
            job, log = await jobs.run(setup, READS, files=files, **whose)
            assert hit(job)
            assert log.splitlines()[1:] == [seen, "0"]


@pytest.mark.parametrize("other", [{"project": "b"}, {"owner": "other", "project": "a"}, {"project": None}], ids=str)
async def test_the_key_of_another_project(installation: Installation, other: dict[str, Any]) -> None:
    """The same setup of another owner or project is another environment, and its image is no job's and no service's."""
    async with jobs_on(installation) as jobs:
        mine, _ = await jobs.run("echo mine >/made", "cat /made", project="a")
        (environment,) = await jobs.prepared()
        theirs, log = await jobs.run("echo mine >/made", "cat /made; echo poison >/made", **other)
        assert mine.environment is not None
        assert theirs.environment is not None
        assert (hit(theirs), log) == (False, "mine\n")
        assert theirs.environment.key != mine.environment.key
        inspected = require_engine().request("GET", f"/images/{environment.reference}/json").decode()
        (tag,) = [word for word in inspected.split('"') if word.startswith("ci-environment-")]
        for name in (environment.reference, environment.reference.removeprefix("sha256:")[:20], tag):
            for plan in ({"image": name}, {"services": {"db": {"image": name, "command": "cat /made; sleep 60"}}}):
                image = plan.get("image")
                used = await installation.submit("cat /made", plan=plan, image=image, **other)
                ended = await completed(jobs.storage, used.id)
                assert ended.conclusion is Conclusion.ERRORED, (name, plan, installation.log_of(ended))


async def test_inputs_that_a_step_changes(installation: Installation) -> None:
    """They were copied before the job's code began, and its key is that of the copy."""
    setup = "cat deps.txt >/made"
    async with jobs_on(installation) as jobs:
        await jobs.run(setup, "echo poison >deps.txt; rm -rf /made; ln -s /etc/passwd other; cat deps.txt >/made")
        await jobs.prepared()
        for step in ("cat /made; echo poison >deps.txt", "cat /made"):
            job, log = await jobs.run(setup, step)
            assert hit(job)
            assert log.splitlines()[1:] == ["one"]


@pytest.mark.parametrize("change", ["content", "mode", "link", "gone"])
async def test_inputs_that_change_between_submission_and_start(installation: Installation, change: str) -> None:
    """The job runs with what there is, and nothing is kept under the key of what was submitted."""
    setup = "cat deps.txt >/made || echo gone >/made"
    async with installation.storage() as storage:
        jobs = Jobs(installation, storage)
        job = await jobs.submit(setup, "cat /made")
        path = installation.data.run(job.id, 1).workspace / "deps.txt"
        if change == "content":
            path.write_text("poison\n")
        elif change == "mode":
            path.chmod(0o755)
        else:
            path.unlink()
            if change == "link":
                path.symlink_to("/etc/passwd")
    async with jobs_on(installation) as jobs:
        ended = await completed(jobs.storage, job.id)
        assert ended.conclusion is Conclusion.SUCCEEDED
        again, log = await jobs.run(setup, "cat /made")
        assert (hit(again), log) == (False, "one\n")
        await jobs.prepared()
        third, log = await jobs.run(setup, "cat /made")
        assert hit(third)
        assert log.splitlines()[1:] == ["one"]


async def test_a_setup_that_leads_its_workspace_elsewhere(installation: Installation) -> None:
    """What is there is neither read nor told: the log names no file of the machine."""
    setup = "[ -e other.txt ] || { cd /; rm -rf /ci/workspace; ln -s /etc /ci/workspace; ln -sf /etc/passwd /ci/log; }"
    async with jobs_on(installation) as jobs:

        async def is_told() -> bool:
            job, log = await jobs.run(setup, "true", files={"other.txt": ""})
            assert not hit(job)
            assert "passwd" not in log
            return log.startswith(
                "ci: no environment is kept of this setup: the setup replaces the project's directory"
            )

        await eventually(is_told, "the log says that nothing is kept")
        assert await jobs.storage.environments.list(limit=10) == []


async def test_the_data_of_a_service(installation: Installation) -> None:
    """Neither what it has in its own files nor what it has in a volume reaches the service of another job."""
    serves = "cat /data/kept /kept | nc -l -p 10"  # Again, as a reader may go before it has read.
    # Its input stays open: at the end of it, it would close the connection, maybe before the job has written.
    takes = "mkfifo /open; exec 3<>/open; nc -l -p 9 <&3 | tee -a /kept >>/data/kept"
    adds = f"touch /data/kept /kept; {takes}; while :; do {serves}; done"
    image = await asyncio.to_thread(volume_image, require_engine(), "/data")
    plan = {"services": {"db": {"image": image, "command": adds, "health": "netstat -ltn | grep :9"}}}
    step = """
until echo poison | nc db 9 2>/dev/null; do sleep 0.1; done
until nc db 10 </dev/null >got 2>/dev/null && [ -s got ]; do sleep 0.1; done
wc -l <got
"""
    async with installation.storage() as storage, installation.controller():
        for way in (StartWay.COLD, StartWay.WARM, StartWay.WARM):
            job = await completed(storage, (await installation.submit(step, plan=plan)).id)
            assert (job.start_way, installation.log_of(job)) == (way, b"2\n")

            async def waits() -> bool:
                return (await storage.pool.get()).waiting == 1

            await eventually(waits, "a container waits with its service")
    async with installation.runtime_of_its_own() as runtime:
        await nothing_left(runtime)
    volumes = require_engine().request("GET", "/volumes", {"filters": '{"dangling": ["true"]}'})
    assert b'"Volumes":[]' in volumes or b'"Volumes":null' in volumes
