"""Tests and coverage of a job, from its files to what `ci` and the API say of them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Starter
from tests.helpers.service import Service, Start, ended, terminals, tree

TESTS = 130
# What a runner leaves. The tests that it runs are those that PYTEST_ADDOPTS names, or all.
RUNNER = f"""
names=${{PYTEST_ADDOPTS:-$(seq -f 'test_%g' 0 {TESTS - 1})}}
{{
  echo '<testsuites><testsuite name="pytest">'
  for name in $names; do
    name=${{name##*:}}
    echo '<testcase classname="test_shop" name="'$name'" file="test_shop.py" line="0" time="0.'${{name#test_}}'">'
    [ $name != test_7 ] || grep -q fixed shop.py || echo '<failure message="it is &lt;7&gt;">E  it is 7</failure>'
    echo '</testcase>'
  done
  echo '</testsuite></testsuites>'
}} >tests.xml
printf 'SF:%s/shop.py\\nDA:1,1\\nDA:2,0\\nDA:3,0\\nend_of_record\\n' "$PWD" >lcov.info
! grep -q '<failure' tests.xml
"""


@pytest.fixture(params=["process"])
def runtime(request: pytest.FixtureRequest) -> str:
    """The reports of all runtimes are read alike."""
    return str(request.param)


@pytest.fixture
def ci(environment: dict[str, str]) -> Iterator[Start]:
    with terminals(environment | {"GIT_CONFIG_GLOBAL": "/dev/null"}) as start:
        yield start


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a git repository, with a change that is not committed."""
    spec = {
        "project": "shop",
        "steps": [{"run": RUNNER}],
        "reports": {"junit": "tests.xml", "coverage": "lcov.info"},
    }
    files = {"ci.yaml": json.dumps(spec), "shop.py": "one\ntwo\n", "test_shop.py": "\n"}
    project = tree(tmp_path / "project", files)
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", project, *identity, *arguments], check=True)
    (project / "shop.py").write_text("one\ntwo\nthree\n")
    return project


def said(ci: Start, *command: str, directory: Path | None = None, status: int = 0) -> str:
    code, out, err = ended(ci(*command, cwd=directory))
    assert code == status, (out, err)
    return out.decode() + err


def run(ci: Start, project: Path, *options: str, status: int) -> str:
    said(ci, "run", str(project), *options, status=status)
    return str(json.loads(said(ci, "list", "--json", "--limit", "1"))[0]["job_id"])


def test_what_a_job_leaves_is_told(ci: Start, service: Service, project: Path) -> None:
    seen = said(ci, "run", str(project), status=1)
    first = str(json.loads(said(ci, "list", "--json", "--limit", "1"))[0]["job_id"])
    (hint,) = [line for line in seen.splitlines() if "--only-failed" in line]
    assert hint.startswith("ci: run what failed again, ")
    assert hint.endswith(f" {project} --only-failed {first}")
    job = json.loads(said(ci, "status", "--json", first))
    assert (job["tests"]["total"], job["tests"]["failed"], job["tests"]["passed"]) == (TESTS, 1, TESTS - 1)
    told = said(ci, "tests", first)
    assert "FAILED test_shop.py::test_7 (new)\n  at test_shop.py:1\n  it is <7>\n" in told
    assert f"{TESTS} tests: 1 failed, {TESTS - 1} passed" in told
    assert "33.33 % of 3 lines covered" in told
    slow = said(ci, "tests", first, "--slow", "--limit", "2")
    assert [line.split()[-1] for line in slow.splitlines()[1:]] == ["test_shop::test_99", "test_shop::test_98"]
    found = json.loads(said(ci, "tests", first, "--search", "TEST_SHOP.PY", "--json"))
    assert [test["name"] for test in found] == [f"test_{number}" for number in range(TESTS)]

    with httpx.Client(base_url=service.url, trust_env=False) as http:
        seen, url = [], f"/jobs/{first}/tests?limit=50&sort=time&status=passed"
        while url:
            page = http.get(url).raise_for_status()
            seen += [test["name"] for test in page.json()]
            url = page.links.get("next", {}).get("url", "")
        assert len(seen) == len(set(seen)) == TESTS - 1
        assert http.get(f"/jobs/{first}/tests?attempt=2").json()["code"] == "attempt_not_found"

    (project / "shop.py").write_text("one\nfixed\nthree\n")
    second = run(ci, project, "--only-failed", first, status=0)
    (fixed,) = json.loads(said(ci, "tests", second, "--json"))
    assert (fixed["name"], fixed["change"]) == ("test_7", "fixed")
    assert "no test failed" in said(ci, "run", str(project), "--only-failed", second, status=64)
    history = json.loads(said(ci, "tests", second, "--history", "--json"))
    assert [(past["job_id"], past["status"]) for past in history[0]["history"]] == [
        (second, "passed"),
        (first, "failed"),
    ]


@pytest.mark.usefixtures("service")
def test_changed_lines_without_coverage(ci: Start, project: Path, tmp_path: Path) -> None:
    job = run(ci, project, status=1)
    told = said(ci, "tests", job, "--coverage", directory=project)
    assert "1 changed line is not covered, since m" in told
    assert "\n  shop.py: 3\n" in told
    document = json.loads(said(ci, "tests", job, "--coverage", "--json", directory=project))
    assert (document["files"], document["is_checked"]) == ([{"path": "shop.py", "lines": [[3, 3]]}], True)

    (project / "shop.py").write_text("one\ntwo\nthree\nfour\n")
    told = said(ci, "tests", job, "--coverage", "--base", "HEAD", directory=project)
    assert "changed again since the job, so not compared: shop.py" in told
    assert "is in no git repository" in said(ci, "tests", job, "--coverage", directory=tmp_path, status=64)
    assert "--base goes with --coverage" in said(ci, "tests", job, "--base", "HEAD", status=64)


def test_reports_that_cannot_be_read_are_told(start: Starter, ci: Start, project: Path) -> None:
    start()
    broken = """printf '<testsuite><testcase name="a"/><testcase' >tests.xml; printf 'SF:a\\nDA:x\\n' >lcov.info"""
    spec = json.loads((project / "ci.yaml").read_text()) | {"steps": [{"run": broken}]}
    (project / "ci.yaml").write_text(json.dumps(spec))
    job = run(ci, project, status=0)
    told = said(ci, "tests", job)
    assert "1 test: 1 passed" in told
    assert "report: tests.xml: it is not well-formed XML" in told
    assert "report: lcov.info: line 2 is not LCOV" in told
    assert "has no report of coverage" in said(ci, "tests", job, "--coverage", directory=project, status=64)
