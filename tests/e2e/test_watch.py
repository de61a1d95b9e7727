"""`ci run --watch`: which changes start a run, what becomes of the one before, and how it ends."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.service import Service, Start, Terminal, ended, said, terminals, tree

CI_YAML = {"image": "none", "command": "cat text"}


@pytest.fixture
def runtime() -> str:
    """What it does is the same on every runtime."""
    return "process"


@pytest.fixture
def ci(environment: dict[str, str]) -> Iterator[Start]:
    """`ci` of the user who runs the service."""
    with terminals(environment) as start:
        yield start


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {"ci.yaml": json.dumps(CI_YAML), "text": "one\n", ".gitignore": "ignored/\n*.tmp\n", "deep/er/file": ""}
    return tree(tmp_path / "project", files)


def jobs(service: Service) -> list[tuple[str, str | None]]:
    """Return status and conclusion of all jobs, the oldest first."""
    with service.client() as client:
        return [(job["status"], job["conclusion"]) for job in reversed(client.get("/jobs").json())]


def interrupted(process: Terminal) -> tuple[int, bytes, str]:
    process.send_signal(signal.SIGINT)
    return ended(process)


def test_each_change_is_run_once(ci: Start, service: Service, project: Path) -> None:
    watching = ci("run", "--watch", project)
    said(watching, "waiting for changes")
    (project / "ignored").mkdir()
    (project / "ignored/file").write_text("not sent")
    (project / "text").write_text("one\n")  # The same as before.
    (project / "text").write_text("two\n")
    assert said(watching, "──── run 2").strip().endswith("run 2: text changed")
    said(watching, "waiting for changes")
    (project / "new").mkdir()
    (project / "new/file").write_text("")
    said(watching, "──── run 3")
    said(watching, "waiting for changes")
    (project / "new/file").write_text("in a folder that is new")
    assert said(watching, "──── run 4").strip().endswith("run 4: new/file changed")
    said(watching, "waiting for changes")
    (project / "deep/er/file").unlink()
    said(watching, "──── run 5")
    said(watching, "waiting for changes")
    code, out, _ = interrupted(watching)
    assert (code, out) == (130, b"one\n" + 4 * b"two\n")
    assert jobs(service) == 5 * [("completed", "succeeded")]


def test_a_newer_run_cancels_the_one_before(ci: Start, service: Service, project: Path) -> None:
    (project / "ci.yaml").write_text(json.dumps(CI_YAML | {"command": "cat text; exec sleep 600"}))
    watching = ci("run", "--watch", project)
    said(watching, "ci: running")
    (project / "ci.yaml").write_text(json.dumps(CI_YAML))
    said(watching, ": the project has changed")
    said(watching, "waiting for changes")
    code, out, _ = interrupted(watching)
    assert (code, out.endswith(b"one\n")) == (130, True)
    assert jobs(service) == [("completed", "cancelled"), ("completed", "succeeded")]


@pytest.mark.parametrize("embedded", [True, False])
def test_ctrl_c_cancels_what_is_under_way(ci: Start, service: Service, project: Path, embedded: bool) -> None:
    if embedded:
        service.stop()
    (project / "ci.yaml").write_text(json.dumps(CI_YAML | {"command": "echo up; exec sleep 600"}))
    watching = ci("run", "--watch", project)
    said(watching, "ci: running")
    assert interrupted(watching)[0] == 130
    listed = json.loads(ended(ci("list", "--json"))[1])
    assert [job["cancel_requested_time"] is not None for job in listed] == [True]
    if embedded:
        assert [job["conclusion"] for job in listed] == ["cancelled"]


def test_what_cannot_be_run_is_reported_and_the_next_change_waited_for(
    ci: Start, service: Service, project: Path
) -> None:
    (project / "ci.yaml").write_text("comand: [cat, text]\n")
    watching = ci("run", "--watch", project, "--json")
    said(watching, "unknown field")
    said(watching, "waiting for changes")
    (project / "ci.yaml").write_text(json.dumps(CI_YAML))
    said(watching, "succeeded")
    said(watching, "waiting for changes")
    code, out, _ = interrupted(watching)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 130
    assert [event for event in events if event["type"] == "run"] == [
        {"type": "run", "run": 1, "changed": []},
        {"type": "run", "run": 2, "changed": ["ci.yaml"]},
    ]
    assert [event["conclusion"] for event in events if event["type"] == "complete"] == ["succeeded"]
    assert jobs(service) == [("completed", "succeeded")]


def test_a_zip_file_cannot_be_watched(ci: Start, tmp_path: Path) -> None:
    (tmp_path / "project.zip").write_bytes(b"PK")
    code, _, err = ended(ci("run", "--watch", tmp_path / "project.zip"))
    assert (code, "--watch is for directories" in err) == (64, True)
