"""Has the test runner of a Node.js project write a JUnit report beside what it writes into the log.

The package manager runs the script `test` by a shell that it can be told of. That shell is a small script here, which
adds options to the one command that is known, and leaves no trace of itself to what it runs. So the manager prints what
it always prints, and tests, their exit status, the log and the variables of the tests stay what they are.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ci_server.detection.detected import HOME, lines
from ci_server.detection.node.mocha_reporter import MOCHA_REPORTER
from ci_server.detection.reading.project_files import ProjectFiles

_SHELL = f"{HOME}/ci-test-shell"
_MOCHA_FILE = "ci-mocha-reporter.cjs"
_VARIABLE = "npm_config_script_shell"
_WORD = re.compile(r"""(?:'[^']*'|"[^"\\`]*"|[^\s'"&;|<>(){}`#\\!])+""")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_WITH_VALUE = ("--import", "--require", "-r", "--loader", "--experimental-loader", "--env-file", "-C", "--conditions")
_RUN = re.compile(r"(?:(?:npm|pnpm|yarn) run|npm run-script|pnpm|yarn) ([\w:.-]+)")
_DEEPEST = 4
"""How many scripts may stand between `test` and the one that has the command."""
_MOST_BYTES = 1024 * 1024
_MODULES = ("ts", "mts", "cts", "js", "mjs", "cjs", "json")
_CONFIGURATIONS = {
    "vitest": tuple(
        f"{name}.{end}" for name in ("vitest.config", "vite.config", "vitest.workspace") for end in _MODULES
    ),
    "jest": tuple(f"jest.config.{end}" for end in _MODULES),
    "mocha": (*(f".mocharc.{end}" for end in (*_MODULES, "yaml", "yml", "jsonc")), "test/mocha.opts"),
}
_NODE_LOG = (
    "let junit; try { junit = require('node:test/reporters').junit } catch {} "
    "if (junit) console.log(Number(process.versions.node.split('.')[0]) < 23 ? 'tap' : 'spec')"
)
"""Writes which reporter this Node.js uses in a log where none is named, if it has one for JUnit XML, too."""
_JEST = (
    'JEST_JUNIT_OUTPUT_FILE="$CI_REPORTS/jest.xml" JEST_JUNIT_ADD_FILE_ATTRIBUTE=true '
    "JEST_JUNIT_REPORT_TEST_SUITE_ERRORS=true "
)


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Command:
    """The command of a script that runs the tests."""

    start: int
    """Where it begins, with its variables."""
    runner: _Word
    arguments: tuple[_Word, ...]
    end: int


def reporting(files: ProjectFiles, manifest: dict[str, Any], command: str) -> str:
    """Return the shell text that does `command`, which runs the script `test`, and has a report written if it can."""
    scripts = {name: text for name, text in _table(manifest.get("scripts")).items() if isinstance(text, str)}
    found = _find(scripts)
    if found is None or "script-shell" in files.start(".npmrc", _MOST_BYTES):
        return command
    outer, script, which = found
    case = _Cases(files, manifest, script, which).text()
    if not case:
        return command
    names = "".join(f'  {shlex.quote(text)}) exec sh "$@" ;;\n' for text in outer)
    passed_on = f'case "$2" in\n{names}esac\n' if outer else ""
    shell = (
        f"#!/bin/sh\n{passed_on}unset {_VARIABLE}\n"
        f'if [ "$#" -eq 2 ] && [ "$2" = {shlex.quote(script)} ]; then\n{case}\nfi\nexec sh "$@"\n'
    )
    is_mocha = which.runner.text == "mocha"
    return lines(
        f'if [ -z "${{{_VARIABLE}-}}" ]; then',
        _written(_SHELL, shell),
        f'chmod +x "{_SHELL}"',
        _written(f"{HOME}/{_MOCHA_FILE}", MOCHA_REPORTER) if is_mocha else "",
        f'export {_VARIABLE}="{_SHELL}"',
        "fi",
        command,
    )


def _written(path: str, text: str) -> str:
    return f"cat >\"{path}\" <<'END_OF_FILE'\n{text}END_OF_FILE"


def _find(scripts: dict[str, str]) -> tuple[list[str], str, _Command] | None:
    """Return the scripts that lead to the only one that runs tests, that one, and its command; else None."""
    found = [*islice(_commands(scripts, "test", ()), 2)]
    if len(found) != 1:
        return None
    (*outer, script), command = found[0]
    return outer, script, command


def _commands(scripts: dict[str, str], name: str, callers: tuple[str, ...]) -> Iterator[tuple[list[str], _Command]]:
    """Yield the commands that run tests in a script, or in those that it calls, and the texts that lead to them."""
    text = scripts.get(name, "")
    for words in _segments(text):
        called = _RUN.fullmatch(" ".join(word.text for word in words))
        if (command := _command(words)) is not None:
            yield [text], command
        elif called and called[1] not in (name, *callers) and len(callers) < _DEEPEST:
            for texts, command in _commands(scripts, called[1], (*callers, name)):
                yield [text, *texts], command


def _segments(script: str) -> Iterator[list[_Word]]:
    """Yield the words of the commands that `&&` joins; nothing if the script has any other syntax of the shell."""
    found: list[list[_Word]] = [[]]
    at = 0
    while at < len(script):
        if script[at] in " \t":
            at += 1
        elif script.startswith("&&", at):
            found.append([])
            at += 2
        elif (match := _WORD.match(script, at)) is not None:
            found[-1].append(_Word(match[0], at, match.end()))
            at = match.end()
        else:
            return
    yield from found


def _command(words: list[_Word]) -> _Command | None:
    """Return the command if it runs tests by a runner that is known, behind variables and tools for coverage."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if _ASSIGNMENT.match(word.text) or word.text in ("cross-env", "npx"):
            continue
        if word.text in ("c8", "nyc"):
            while rest and rest[0].text.startswith("-"):
                rest.pop(0)
            continue
        if word.text in ("node", "vitest", "jest", "mocha") and _may_report(word.text, [each.text for each in rest]):
            return _Command(words[0].start, word, tuple(rest), words[-1].end)
        return None
    return None


def _may_report(runner: str, arguments: list[str]) -> bool:
    """Return whether the command runs tests once, and says itself nothing of other reporters and configurations."""
    if runner == "mocha":
        arguments = re.sub(r"(?:^|(?<= ))(?:--reporter[ =]|-R ?)spec(?= |$)", "", " ".join(arguments)).split()
    if any(
        word.startswith(("--watch", "--reporter", "--test-reporter", "--outputFile", "--config", "-R"))
        for word in arguments
    ):
        return False
    if {"--", "-c", "-w", "--testResultsProcessor", "--package", "--no-config", "--listTests"} & {*arguments}:
        return False
    if runner == "vitest":
        return not arguments or arguments[0] == "run" or arguments[0].startswith("-")
    if runner != "node":
        return True
    while arguments and arguments[0].startswith("-") and arguments[0] != "--test":
        arguments = arguments[2 if arguments[0] in _WITH_VALUE else 1 :]
    return arguments[:1] == ["--test"]


class _Cases:
    """What the shell does for the script that runs the tests."""

    def __init__(self, files: ProjectFiles, manifest: dict[str, Any], script: str, command: _Command) -> None:
        self._files = files
        self._manifest = manifest
        self._script = script
        self._command = command

    def text(self) -> str:
        """Return the shell text that sets what is run; empty if the runner is better left alone."""
        runner = self._command.runner.text
        if runner == "node":
            return self._node()
        configured = self._configured(runner)
        if runner == "jest":
            return self._jest(configured)
        if re.search("reporter|mergeConfig" if runner == "vitest" else "reporter|extends|package", configured):
            return ""
        options = (
            ' --reporter=default --reporter=junit --outputFile.junit="$CI_REPORTS/vitest.xml"'
            if runner == "vitest"
            else ' --reporter "$1"'
        )
        changed = self._changed(behind=options)
        return self._unless_github(changed) if runner == "vitest" else f'{changed} sh "${{0%/*}}/{_MOCHA_FILE}"'

    def _node(self) -> str:
        at = self._command.runner.end
        reporters = (
            " --test-reporter-destination=stdout --test-reporter=junit "
            '--test-reporter-destination="$CI_REPORTS/node.xml"'
        )
        before, after = f"{self._script[:at]} --test-reporter=", f"{reporters}{self._script[at:]}"
        return (
            f"  ci_log=$(node -e {shlex.quote(_NODE_LOG)} 2>/dev/null) || ci_log=\n"
            f'  [ -z "$ci_log" ] || set -- -c {shlex.quote(before)}"$ci_log"{shlex.quote(after)}'
        )

    def _jest(self, configured: str) -> str:
        is_there = any("jest-junit" in _table(self._manifest.get(name)) for name in ("devDependencies", "dependencies"))
        if not is_there or ("reporters" in configured and "jest-junit" not in configured):
            return ""
        options = "" if "reporters" in configured else " --reporters=default --reporters=jest-junit"
        return self._unless_github(self._changed(before=_JEST, behind=options))

    def _changed(self, *, before: str = "", behind: str) -> str:
        start, end = self._command.start, self._command.end
        text = self._script
        return f"  set -- -c {shlex.quote(f'{text[:start]}{before}{text[start:end]}{behind}{text[end:]}')}"

    @staticmethod
    def _unless_github(text: str) -> str:
        """Runners add a reporter of their own where they find GitHub's variable."""
        return f'  if [ -z "${{GITHUB_ACTIONS-}}" ]; then\n  {text}\n  fi'

    def _configured(self, runner: str) -> str:
        """Return the runner's configuration, as text."""
        texts = [self._files.start(name, _MOST_BYTES) for name in _CONFIGURATIONS[runner] if self._files.has(name)]
        return "\n".join([str(self._manifest.get(runner, "")), *texts])


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
