"""Which Node.js projects get a report unasked, and how their own command becomes one that writes it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ci_common.settings import Settings
from ci_common.spec import Spec
from ci_controller.reports.junit import Case, read_junit
from ci_server.detection.projects import resolve
from tests.helpers.service import tree

JEST = {"devDependencies": {"jest-junit": "16.0.0"}}
MANAGER = """#!/bin/sh
printf '%s|' "$npm_config_script_shell" | grep -q . || npm_config_script_shell=sh
exec "$npm_config_script_shell" -c "$SCRIPT"
"""
"""Runs a script as npm does."""
RUNNER = """#!/bin/sh
printf '%s\\n' "${0##*/}" "$@" "${npm_config_script_shell-gone}"
"""
"""Writes what it is called with."""


def step_of(directory: Path, scripts: dict[str, str], files: dict[str, str], **fields: Any) -> str:
    manifest = json.dumps({"scripts": scripts, **fields})
    tree(directory, {"package.json": manifest, "package-lock.json": "{}"} | files)
    plan = resolve(directory, Spec(), Settings(prepared_bytes=0)).plan
    return plan.steps[-1].shell or ""


def called(directory: Path, shell: str, script: str, *runners: str) -> list[str]:
    """Return what the runner is called with when the manager, which is not real, runs the script."""
    programs = tree(directory / "programs", {"npm": MANAGER} | dict.fromkeys(runners, RUNNER))
    for program in programs.iterdir():
        program.chmod(0o755)
    home = directory / "a home"
    home.mkdir()
    done = subprocess.run(
        ["sh", "-ec", shell],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home), "CI_ENV": str(home),
             "CI_REPORTS": "/reports", "SCRIPT": script},
        cwd=directory, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "runner", "arguments"),
    [
        (
            "NODE_ENV=test vitest run 'a b'",
            "vitest",
            ["run", "a b", "--reporter=default", "--reporter=junit", "--outputFile.junit=/reports/vitest.xml"],
        ),
        ("true && jest --ci && true", "jest", ["--ci", "--reporters=default", "--reporters=jest-junit"]),
        ("mocha -R spec test", "mocha", ["-R", "spec", "test", "--reporter", "HOME/ci-mocha-reporter.cjs"]),
    ],
)
def test_options_are_added_to_the_command(tmp_path: Path, script: str, runner: str, arguments: list[str]) -> None:
    shell = step_of(tmp_path, {"test": script}, {}, **JEST)
    wanted = [word.replace("HOME", str(tmp_path / "a home")) for word in arguments]
    assert called(tmp_path, shell, script, runner) == [runner, *wanted, "gone"]


def test_other_scripts_run_as_they_are(tmp_path: Path) -> None:
    shell = step_of(tmp_path, {"test": "vitest", "pretest": "vitest list"}, {})
    assert called(tmp_path, shell, "vitest list", "vitest") == ["vitest", "list", "gone"]


def test_a_script_that_calls_the_one_with_the_command_passes_the_shell_on(tmp_path: Path) -> None:
    scripts = {"test": "npm run lint && npm run unit", "lint": "eslint .", "unit": "c8 --100 vitest"}
    shell = step_of(tmp_path, scripts, {})
    assert "'npm run lint && npm run unit')" in shell
    assert "c8 --100 vitest --reporter=default" in shell


@pytest.mark.parametrize(
    ("script", "files", "fields"),
    [
        ("tape test/*.js", {}, {}),
        ("vitest run | tee log", {}, {}),
        ("vitest run; true", {}, {}),
        ("vitest run && vitest run other", {}, {}),
        ("vitest --reporter=dot", {}, {}),
        ("vitest bench", {}, {}),
        ("vitest", {"vitest.config.ts": "export default {test: {reporters: ['dot']}}"}, {}),
        ("vitest", {".npmrc": "script-shell=bash"}, {}),
        ("node --test --test-reporter=dot", {}, {}),
        ("node tests.js --test", {}, {}),
        ("node --test --watch", {}, {}),
        ("mocha -R dot", {}, {}),
        ("mocha", {".mocharc.yml": "reporter: dot"}, {}),
        ("mocha", {}, {"mocha": {"reporter": "dot"}}),
        ("jest", {}, {}),
        ("jest", {"jest.config.js": "module.exports = {reporters: ['summary']}"}, JEST),
        ("jest --watchAll", {}, JEST),
        ("npm run test", {}, {}),
        ("vitest", {"yarn.lock": "__metadata:\n  version: 8\n"}, {"packageManager": "yarn@4.5.0"}),
    ],
)
def test_what_cannot_be_added_to_soundly_is_left_alone(
    tmp_path: Path, script: str, files: dict[str, str], fields: dict[str, Any]
) -> None:
    assert "script_shell" not in step_of(tmp_path, {"test": script}, files, **fields)


def test_a_jest_that_has_the_reporter_is_only_told_where_to_write(tmp_path: Path) -> None:
    files = {"jest.config.js": "module.exports = {reporters: ['default', 'jest-junit']}"}
    shell = step_of(tmp_path, {"test": "jest"}, files, **JEST)
    assert 'JEST_JUNIT_OUTPUT_FILE="$CI_REPORTS/jest.xml"' in shell
    assert "--reporters" not in shell


def test_node_itself(tmp_path: Path) -> None:
    """The log is what it is without, and the report has the tests."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js is not installed here")
    tests = (
        "const test = require('node:test')\ntest('adds', () => {})\n"
        "test('fails', () => { throw new Error(process.env.npm_config_script_shell ?? 'untouched') })\n"
    )
    shell = step_of(tmp_path, {"test": "node --test"}, {"test/a.test.js": tests})
    reports, home = tmp_path.parent / f"{tmp_path.name}-reports", tmp_path.parent / f"{tmp_path.name}-home"
    reports.mkdir()
    home.mkdir()
    variables = {"CI_REPORTS": str(reports), "CI_ENV": str(home), "HOME": str(home), "CI": "true"}

    def run(text: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            ["sh", "-ec", text], cwd=tmp_path, env={"PATH": os.environ["PATH"], **variables},
            capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, [line for line in done.stdout.splitlines() if "duration" not in line]

    assert run(shell) == run("npm test")
    cases: list[Case] = []
    with (reports / "node.xml").open("rb") as file:
        read_junit(file, prefixes=[str(tmp_path)], on_case=cases.append, on_chunk=lambda: None)
    assert [(case.name, case.status, case.message, case.file, case.line) for case in cases] == [
        ("adds", "passed", None, None, None),
        ("fails", "failed", "untouched", "test/a.test.js", 3),
    ]
