"""`ci serve` of an unprivileged member of the engine's group, on jobs that write their files as root."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_client.aio import CiClient
from ci_common.run_directory.layout import KEPT
from tests.engine.api import EngineAPI
from tests.helpers.service import Service, containers, finished, text_of, zipped
from tests.helpers.waiting import eventually

NAME = f"ci-e2e-{os.getpid()}"
WRITES = """
id -u
mkdir -p deep/er/still closed
echo secret > closed/file; echo more > deep/er/still/file
ln -s /etc outside; mkfifo pipe; umask 077; mkdir .hidden; echo x > .hidden/x
chmod 0500 deep/er deep; chmod 0000 closed; chmod 0400 script
chown -R 4321:4321 deep
"""
READING = "+dac_read_search"
"""What root may do and the member keeps: to read, since other users may not get to where Python lies."""


def serving_as(member: pwd.struct_passwd, group: int) -> tuple[str, ...]:
    """Return arguments of Python that make it `ci serve` of a user in one group more."""
    user = ["--reuid", member.pw_uid, "--regid", member.pw_gid, "--groups", group]
    command = ["setpriv", *map(str, user), "--inh-caps", READING, "--ambient-caps", READING, sys.executable]
    return "-c", f"import os; os.execvp('setpriv', {[*command, '-m', 'ci_cli', 'serve']!r})"


pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("runtime", ["docker"], indirect=True),
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("useradd") or not shutil.which("setpriv"),
        reason="only root makes users",
    ),
]


@pytest.fixture
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pwd.struct_passwd]:
    """A user of the machine, for this test."""
    home = Path("/var/tmp", NAME)
    subprocess.run(["useradd", "--create-home", "--home-dir", home, "--user-group", NAME], check=True)
    try:
        yield pwd.getpwnam(NAME)
    finally:
        subprocess.run(["userdel", "--force", "--remove", NAME], check=True, capture_output=True)
        assert not home.exists()


@pytest.fixture
def service_of_member(environment: dict[str, str], member: pwd.struct_passwd, engine: EngineAPI) -> Iterator[Service]:
    state = Path(member.pw_dir, "state")
    settings = {"HOME": member.pw_dir, "XDG_STATE_HOME": str(state), "CI_DB_PATH": str(state / "ci_jobs.db")}
    service = Service(environment | settings)
    try:
        yield service.start(*serving_as(member, os.stat(urlsplit(engine.url).path).st_gid))
    finally:
        service.close()


async def test_nothing_is_left_that_it_could_not_delete(
    service_of_member: Service, member: pwd.struct_passwd, shell_image: str, environment: dict[str, str]
) -> None:
    project = zipped(
        {"ci.yaml": json.dumps({"image": shell_image, "command": "sh ./script; exit 3"}), "script": WRITES}
    )
    owner = os.stat(f"/proc/{service_of_member.process.pid}").st_uid
    assert owner == member.pw_uid
    async with CiClient(service_of_member.url) as client:
        (archive := Path(member.pw_dir, "project.zip")).write_bytes(project)
        job = await finished(client, await client.submit(archive))
        assert (job["exit_code"], await text_of(client, job["job_id"])) == (3, "0\n")
    run = Path(member.pw_dir, "state", "ci_jobs.data", "jobs", job["job_id"], "1")
    await eventually(lambda: set(os.listdir(run)) <= KEPT, "the workspace is gone")
    await eventually(lambda: not containers(environment["CI_CONTAINER_PREFIX"]), "the containers are gone")
    data = Path(member.pw_dir, "state")
    assert {path.lstat().st_uid for path in data.rglob("*")} == {member.pw_uid}
