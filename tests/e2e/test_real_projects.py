"""Projects as people have them, through `ci run`: the verdict is the one that pytest, or pip, gives by hand."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.installation import ROOT
from tests.helpers.service import Service, tree

SOURCES = ROOT / ".cache" / "sources"
PROJECTS = {"iniconfig==2.3.1": 54, "toolz==1.2.0": 192, "tabulate==0.10.0": 280}
"""Source archives with tests, and how many of them pass."""
VERDICTS: dict[str, tuple[int, str, dict[str, str]]] = {
    "a test that fails": (1, "1 failed, 1 passed", {"test_a.py": "def test(): pass\ndef test_fails(): assert False\n"}),
    "a module that cannot be imported": (2, "1 error", {"test_a.py": "import nothing_of_this_name\n"}),
    "a requirement that does not exist": (
        1,
        "No matching distribution found for toolz==0.0.0",
        {"requirements.txt": "toolz==0.0.0\n", "test_a.py": "def test(): pass\n"},
    ),
    "no tests": (5, "no tests ran", {"conftest.py": "", "README.md": ""}),
}


@pytest.fixture(scope="session")
def sources() -> Path:
    """The projects' source archives, fetched from the package registry once and kept."""
    SOURCES.mkdir(parents=True, exist_ok=True)
    for requirement in PROJECTS:
        if not (SOURCES / archive_of(requirement)).exists():
            fetch(requirement)
    return SOURCES


def archive_of(requirement: str) -> str:
    return requirement.replace("==", "-") + ".tar.gz"


def fetch(requirement: str) -> None:
    name = requirement.partition("==")[0]
    with tempfile.TemporaryDirectory(dir=SOURCES) as directory:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name, "--dest", directory]
        done = subprocess.run([*command, requirement], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"{requirement} cannot be fetched:\n{done.stderr}")
        (Path(directory) / archive_of(requirement)).replace(SOURCES / archive_of(requirement))


def start_run(service: Service, environment: Mapping[str, str], project: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ci_cli", "run", str(project)],
        env={**os.environ, **environment, "CI_SERVER_URL": service.url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verdict_of(service: Service, running: "subprocess.Popen[str]") -> tuple[int, str, dict[str, object]]:
    """Return the command's exit status, the job's log, and the job."""
    log, said = running.communicate(timeout=300)
    match = re.search(r"^ci: job ([0-9a-f-]+)$", said, re.MULTILINE)
    assert match is not None, said
    with service.client() as client:
        return running.returncode, log, client.get(f"/jobs/{match[1]}").json()


@pytest.mark.parametrize(
    ("runtime", "requirement"),
    [("process", "iniconfig==2.3.1"), *(pytest.param("docker", name, marks=pytest.mark.docker) for name in PROJECTS)],
    indirect=["runtime"],
)
def test_a_project_from_the_registry(
    service: Service, environment: dict[str, str], sources: Path, tmp_path: Path, requirement: str
) -> None:
    with tarfile.open(sources / archive_of(requirement)) as archive:
        archive.extractall(tmp_path, filter="data")
    project = tmp_path / requirement.replace("==", "-")
    status, log, job = verdict_of(service, start_run(service, environment, project))
    assert (status, job["conclusion"], job["exit_code"]) == (0, "succeeded", 0), log
    closing = log.splitlines()[-1]
    assert re.search(rf"= {PROJECTS[requirement]} passed\b", closing), closing
    assert "failed" not in closing
    assert "error" not in closing


def test_verdicts_are_pytests_and_pips_own(service: Service, environment: dict[str, str], tmp_path: Path) -> None:
    running = {
        name: start_run(service, environment, tree(tmp_path / name, files)) for name, (*_, files) in VERDICTS.items()
    }
    for name, (expected, says, _) in VERDICTS.items():
        status, log, job = verdict_of(service, running[name])
        assert says in log, name
        assert (status, job["status"], job["conclusion"], job["exit_code"]) == (
            expected, "completed", "failed", expected,
        ), name  # fmt: skip
        assert job["error"] is None, name
