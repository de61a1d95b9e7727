"""Annotations from SARIF reports, which a job may have written as it likes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.outcomes import MOST_ANNOTATIONS
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.settings import Settings
from ci_controller.results.sarif import MOST_FILE_BYTES, SarifReports, annotations_of
from tests.helpers.jobs import NOON


def document(*results: Any, rules: Any = ()) -> bytes:
    run = {"tool": {"driver": {"name": "checker", "rules": list(rules)}}, "results": list(results)}
    return json.dumps({"version": "2.1.0", "runs": [run]}).encode()


def result(text: str = "bad", **more: Any) -> dict[str, Any]:
    region = {"startLine": 3, "startColumn": 5, "endLine": 4}
    place = {"artifactLocation": {"uri": "file:///ci/workspace/src/a%20b.py"}, "region": region}
    return {"message": {"text": text}, "locations": [{"physicalLocation": place}], **more}


def test_a_finding() -> None:
    (found,) = annotations_of(document(result(ruleId="X1", level="error")), ("/ci/workspace",))
    assert (found.level, found.message, found.source, found.tool, found.title) == (
        "error",
        "bad",
        "sarif",
        "checker",
        "X1",
    )
    assert (found.file, found.line, found.column, found.end_line) == ("src/a b.py", 3, 5, 4)


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({}, "warning"),
        ({"level": "note"}, "notice"),
        ({"level": "none"}, None),
        ({"ruleIndex": 0}, "error"),
        ({"ruleId": "R"}, "error"),
        ({"ruleId": "R", "level": "note"}, "notice"),
        ({"suppressions": [{"kind": "inSource"}]}, None),
        ({"kind": "pass"}, None),
        ({"baselineState": "absent"}, None),
    ],
)
def test_levels(more: dict[str, Any], level: str | None) -> None:
    rules = [{"id": "R", "defaultConfiguration": {"level": "error"}}]
    assert [found.level for found in annotations_of(document(result(**more), rules=rules))] == (
        [level] if level else []
    )


@pytest.mark.parametrize(
    "strange",
    [
        *(None, 5, [], {"message": 5}, {"locations": {}}, {"locations": [None]}, {"ruleIndex": True, "ruleId": []}),
        {"locations": [{"physicalLocation": {"artifactLocation": {"uri": "http://[x"}, "region": {"startLine": "1"}}}]},
        {"message": {"text": "\0\x1b[31m"}, "locations": [{"physicalLocation": {"region": {"startLine": True}}}]},
    ],
)
def test_strange_findings_are_bounded(strange: Any) -> None:
    for found in annotations_of(document(strange)):
        assert found.line is None
        assert found.message.isprintable()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"runs": 5}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_sarif(raw: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        list(annotations_of(raw))


async def test_reports_are_read_apart(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "1")
    folder = run.workspace / "app" / "out"
    folder.mkdir(parents=True)
    many = [result(f"w{number}") for number in range(MOST_ANNOTATIONS)]
    (folder / "a.sarif").write_bytes(document(*many, result("worst", level="error")))
    (folder / "b.sarif").write_text("nothing")
    with (folder / "c.sarif").open("wb") as file:
        file.truncate(MOST_FILE_BYTES + 1)
    (tmp_path / "secret.sarif").write_bytes(document(result("outside")))
    (folder / "d.sarif").symlink_to(tmp_path / "secret.sarif")
    os.mkfifo(folder / "e.sarif")
    plan = {"directory": "app", "reports": {"sarif": ["out/*.sarif", "no/*.sarif"]}}
    job = Job(id="0", type="container", submit_time=NOON, start_time=NOON, plan=plan)
    reports = SarifReports(Settings())
    try:
        found = await reports.collect(job, run, ())
        assert await reports.collect(Job(id="0", type="container", submit_time=NOON, start_time=NOON), run, ()) == ()
    finally:
        await reports.close()
    assert (found[0].message, found[0].level) == ("worst", "error")
    assert len([one for one in found if one.source == "sarif"]) == MOST_ANNOTATIONS
    said = [one.message for one in found if one.source == "ci"]
    assert len(said) == 4
    assert "1 more findings" in said[0]
    assert "b.sarif is no SARIF: it is not JSON" in said[1]
    assert "c.sarif is not read" in said[2]
    assert said[3] == "no/*.sarif: no file matches"
