"""The documentation against the code: what exists is described, and what is described exists."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ci_cli import main
from ci_client import exits
from ci_common.errors import RequestError
from ci_common.job_types import JOB_TYPES, is_computed
from ci_common.jobs import TRANSITIONS, Conclusion, Job, ReasonCode, State
from ci_common.redaction import MASK, masked_env
from ci_common.settings import Settings
from ci_common.spec import Limits, Retry, Spec, Step
from ci_common.times import Milestone, utc_now
from ci_common.wire.access.sessions import SignInProblem
from ci_common.wire.requests import CleanupRequest
from ci_common.wire.stream import ATTEMPT, COMPLETE, JOB_ID, LOG, REFUSED, STATUS, STEP, WIRE_STATUS
from ci_common.wire.writing import job_on_wire
from ci_selftest.jobs.evidence import Promise
from ci_selftest.schedule import Fault
from ci_server.detection.ci_yaml import read_ci_yaml
from ci_server.detection.python.steps import PROJECT_FILES, TEST_FILES
from ci_server.detection.python.test_requirements import DEVELOPMENT, TEST
from ci_server.http.requests import NoQuery
from ci_server.jobs.list_endpoints import ListQuery
from ci_server.jobs.read_endpoints import StreamQuery
from ci_server.routes import ENDPOINTS
from scripts.make_docs import outdated
from tests.helpers.installation import ROOT
from tests.helpers.markdown import Page, codes, pages, table

PAGES = list(pages())
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
NOT_SETTINGS = {
    "CI_UNTRUSTED",
    "CI_BUILD_UI",
    "CI_DEBUG",
    "CI_",
    "CI_ENV",
    "CI_DOWNLOADS",
    "CI_UV",
    "CI_OUTPUT",
    "CI_SUMMARY",
    "CI_REPORTS",
    "CI_SECRETS",
}
"""What looks like a setting: what stands for all of them, and a variable of the command line alone."""


def first_codes(rows: list[tuple[str, ...]]) -> list[str]:
    """What stands in backticks in the first column."""
    return [code for row in rows for code in codes(row[0])]


def commands() -> dict[str, click.Command]:
    return dict(main.cli.commands)


def options_of(command: click.Command) -> set[str]:
    """The long names of a command's own options."""
    names = {name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts}
    return {name for name in names if name.startswith("--")}


def test_every_station_has_its_row() -> None:
    assert first_codes(table(Page("docs/http.md").section("Milestones"))) == list(Milestone)


def test_generated_parts_are_up_to_date() -> None:
    assert not outdated(), "run `make docs`"


@EVERY_PAGE
def test_no_other_settings_are_named(page: Page) -> None:
    named = set(re.findall(r"\b(?:CI|MAX)_[A-Z_]*\b", page.text))
    assert named - set(Settings.env_names().values()) - NOT_SETTINGS == set()


def test_every_command_has_its_row() -> None:
    rows = table(Page("docs/cli.md").section("Commands"))
    assert [code.split()[1] for code in first_codes(rows)] == list(commands())


def test_every_option_of_every_command_has_its_row() -> None:
    described: dict[str, set[str]] = {name: set() for name in commands()}
    for option, of, _ in table(Page("docs/cli.md").section("Options")):
        if of not in ("`ci` itself", "every command"):
            for name in of.split(", "):
                described[name].add(codes(option)[0].split()[0])
    assert {name: {option.partition("[")[0] for option in options} for name, options in described.items()} == {
        name: options_of(command) for name, command in commands().items()
    }


@EVERY_PAGE
def test_command_lines_are_ones_that_the_program_takes(page: Page) -> None:
    for words in command_lines(page):
        name, *rest = words
        if name in ("--help", "COMMAND"):
            continue
        assert name in commands(), words
        command: click.Command = commands()[name]
        while isinstance(command, click.Group) and rest and rest[0] in command.commands:
            command, rest = command.commands[rest[0]], rest[1:]
        own = rest[: rest.index("--")] if "--" in rest else rest
        given = {word.partition("=")[0] for word in own if word.startswith("--")}
        assert given <= options_of(command) | {"--help"}, words


def command_lines(page: Page) -> Iterator[list[str]]:
    """Yield what follows `ci` in the page's command lines, in blocks of code and in backticks."""
    lines = [line for block in page.blocks() if block.language == "sh" for line in block.text.splitlines()]
    for text in [*lines, *codes(page.prose())]:
        match = re.search(r"(?:^|[\s(])ci ([^|)>]+)", text)
        if match is not None:
            yield match[1].split()


@EVERY_PAGE
def test_targets_of_make_exist(page: Page) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [*(block.text for block in page.blocks()), *codes(page.prose())]
    assert {name for text in texts for name in re.findall(r"^make (\w+)", text, re.MULTILINE)} <= targets


def test_every_exit_status_is_told_of() -> None:
    told = {row[0] for row in table(Page("docs/cli.md").section("Exit status"))} - {"the job's own"}
    known = {str(value) for name, value in vars(exits).items() if name.startswith("EX_")}
    assert told == known
    help_text = re.findall(r"^ +(\d+)  ", main.cli.epilog or "", re.MULTILINE)
    assert set(help_text) == known - {str(exits.EX_BROKEN_PIPE)}, "the last of `ci logs` alone"


def test_every_field_of_a_job_has_its_row() -> None:
    job = Job(id="", type="echo", submit_time=utc_now())
    assert first_codes(table(Page("docs/http.md").section("The job"))) == list(job_on_wire(job))


def test_values_of_a_jobs_fields() -> None:
    rows = {row[0]: set(codes(row[1])) for row in table(Page("docs/http.md").section("The job"))}
    assert rows["`status`"] == set(WIRE_STATUS.values())
    assert rows["`conclusion`"] == set(Conclusion)
    assert rows["`runtime`"] == {"docker", "process", "builtin"}


def test_every_type_of_job_has_its_row() -> None:
    rows = table(Page("docs/http.md").section("Types of jobs"))
    assert [(codes(row[0])[0], row[1]) for row in rows] == [(kind.name, kind.summary) for kind in JOB_TYPES.values()]
    for row, kind in zip(rows, JOB_TYPES.values(), strict=True):
        assert (row[3] == "null") is (kind.result is None)
        assert row[4] == (f"{kind.driven_by}, {'computed' if is_computed(kind.name) else 'with a workload'}")


WEAKNESSES = (
    *("traversal on download and delete", "zip slip, zip bombs", "SSRF", "terminal escapes", "timing of key checks"),
    *("CSRF and DNS rebinding on loopback", "a secret in argv", "docker inspect", "a token in URL and logs"),
    *("links in a workspace", "its artifacts", "its step, exit or log files", "fork bombs", "exhausted memory"),
    *("other jobs' files", "the engine's socket", "symlink races", "masking as an oracle", "JWT algorithm confusion"),
    *("key id injection", "expired JWKS"),
)


def test_every_known_weakness_has_a_row_with_tests() -> None:
    """What services of this kind are known for, in the words of the table."""
    rows = table(Page("docs/security.md").section("Known weaknesses"))
    for weakness in WEAKNESSES:
        assert [row for row in rows if weakness in row[0].replace("`", "")], weakness
    for row in rows:
        named = codes(row[2])
        assert named, row
        for path in named:
            assert re.search(r"^(?: *(?:async )?def test_|class Test)", (ROOT / path).read_text(), re.MULTILINE), path


def test_masked_names() -> None:
    names, _, _ = Page("docs/http.md").section("Secrets in `payload`").partition("(so not PATH)")
    words = re.findall(r"\b[A-Z]{3,}\b", names)
    assert masked_env(dict.fromkeys(words, "secret")) == dict.fromkeys(words, MASK)
    assert len(words) == 16


def test_every_query_parameter_is_described() -> None:
    page = Page("docs/http.md")
    assert set(first_codes(table(page.section("The list")))) == set(ListQuery.model_fields)
    stream = next(row[2] for row in table(page.section("Routes")) if row[0] == "`GET /jobs/{id}/stream`")
    named = {re.split("=", code)[0] for code in codes(stream)} - {"Last-Event-ID"}
    assert named == set(StreamQuery.model_fields)
    for endpoint in ENDPOINTS:
        for parameter in (endpoint.query or NoQuery).model_fields:
            assert parameter in page.section("Routes") + page.section("The list"), f"{endpoint.path} {parameter}"


def test_every_condition_of_a_cleanup_is_described() -> None:
    rows = table(Page("docs/http.md").section("Deleting many jobs"))
    assert first_codes(rows) == list(CleanupRequest.model_fields)


def test_every_event_is_shown() -> None:
    section = Page("docs/http.md").section("The stream")
    assert set(re.findall(r'"type":"(\w+)"', section)) == {*(JOB_ID, STATUS, LOG, STEP, ATTEMPT, COMPLETE, REFUSED)}


def test_every_problem_has_its_row() -> None:
    described = {row[1]: row[0] for row in table(Page("docs/http.md").section("Errors"))}
    errors: list[type[RequestError]] = [RequestError, *RequestError.__subclasses__()]
    raised = {error.code: str(error.status) for error in errors}
    known = raised | dict(answers_made_by_hand())
    assert {codes(code)[0]: status for code, status in described.items()} == known


def test_every_reason_of_a_failed_sign_in_has_its_row() -> None:
    rows = table(Page("docs/sign-in.md").section("Browsers"))
    assert [codes(code)[0] for code, _ in rows] == list(SignInProblem)


def answers_made_by_hand() -> Iterator[tuple[str, str]]:
    """Yield code and status of the problems that come from no RequestError."""
    for path in sorted((ROOT / "ci_server").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem":
                status, code = node.args[:2]
                if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
                    yield str(code.value), str(status.value)
    yield from (("not_found", "404"), ("method_not_allowed", "405"), ("http_error", "other"))


def test_every_reason_has_its_row() -> None:
    page = Page("docs/reasons.md")
    waits = table(page.section("Why a job waits (`status` is `queued`)"))
    ends = table(page.section("Why a job ended (`status` is `completed`)"))
    assert sorted(first_codes([*waits, *ends])) == sorted(ReasonCode)
    assert {codes(row[1])[0] for row in ends} == set(Conclusion) - {Conclusion.SUCCEEDED}


def test_the_page_says_what_every_reason_means() -> None:
    source = (ROOT / "ci_ui/src/text/en/reasons.ts").read_text()
    assert sorted(re.findall(r"^  (\w+):", source, re.MULTILINE)) == sorted(ReasonCode)


def test_every_field_of_a_spec_has_its_row() -> None:
    rows = table(Page("docs/ci-yaml.md").text.partition("\n## ")[0])
    fields = [name for name in Spec.model_fields if name != "command"]
    assert sorted(first_codes(rows)) == sorted([*fields, "command"])
    meanings = {row[0]: row[1] for row in rows}
    assert set(Limits.model_fields) <= set(codes(meanings["`limits`"]))
    assert set(Retry.model_fields) <= set(codes(meanings["`retry`"]))
    limits = first_codes(table(Page("docs/ci-yaml.md").section("Limits")))
    assert {name for name in limits if name.startswith("limits.")} == {f"limits.{name}" for name in Limits.model_fields}
    of_step = [field.alias or name for name, field in Step.model_fields.items()]
    assert "{" + ", ".join(of_step) + "}" in codes(meanings["`steps`"])


def test_what_is_detected_is_listed() -> None:
    page = Page("docs/ci-yaml.md")
    section = page.section("Python")
    (detected,) = (block.text.split() for block in page.blocks() if not block.language)
    assert set(detected) == {*PROJECT_FILES, *TEST_FILES}
    assert all(f"`{name}`" in section for name in (*TEST, *DEVELOPMENT))


def test_examples_are_valid(tmp_path: Path) -> None:
    for example in (block.text for block in Page("docs/ci-yaml.md").blocks() if block.language == "yaml"):
        (tmp_path / "ci.yaml").write_text(example)
        assert read_ci_yaml(tmp_path, root=tmp_path) != Spec()


def test_the_states_of_a_job_are_the_ones_in_the_code() -> None:
    section = Page("ARCHITECTURE.md").section("States of a job")
    described = {(codes(row[0])[0], codes(row[1])[0]) for row in table(section)}
    assert described == {(before.name, after.name) for before, following in TRANSITIONS.items() for after in following}
    (drawn,) = (block.text for block in Page("ARCHITECTURE.md").blocks() if "QUEUED" in block.text)
    assert re.findall(r"[A-Z]{5,}", drawn) == [state.name for state in State]


@EVERY_PAGE
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links():
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = page.path.parent / target if target else page.path
        assert path.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in Page(os.path.relpath(path, ROOT)).anchors(), f"{page.name}: {link}"


def test_every_fault_and_promise_of_the_self_test_has_its_row() -> None:
    page = Page("docs/selftest.md")
    assert sorted(first_codes(table(page.section("Faults")))) == sorted(Fault)
    assert [row[0] for row in table(page.section("The table"))] == list(Promise)


def test_every_page_is_listed() -> None:
    listed = {os.path.normpath(ROOT / "docs" / link) for link in Page("docs/README.md").links()}
    here = {str(path) for path in (ROOT / "docs").glob("*.md")} - {str(ROOT / "docs" / "README.md")}
    assert here <= listed


DECISIONS = [page for page in PAGES if page.path.parent.name == "adr" and page.path.name != "README.md"]


def test_decisions_are_numbered() -> None:
    numbers = [int(page.path.name[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    for page in DECISIONS:
        assert page.text.startswith(f"# {int(page.path.name[:4])}. "), page.name


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.path.name[:4])
def test_a_decision_has_context_decision_and_consequences(page: Page) -> None:
    assert re.findall(r"^## (.+)$", page.text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_every_decision_is_in_the_index_with_its_title() -> None:
    rows = table(Page("docs/adr/README.md").text)
    titles = [(page.path.name, page.text.partition("\n")[0].partition(". ")[2]) for page in DECISIONS]
    assert [(Page("docs/adr/README.md").links()[i], row[1]) for i, row in enumerate(rows)] == titles


NOT_HERE = {"tests/requirements.txt", "bench/peers/"}
"""Paths in the projects of users, and in an earlier commit that a page names."""
_PACKAGES = sorted(path.name for path in ROOT.glob("ci_*/") if (path / "__init__.py").exists())
_DOTTED = re.compile(rf"(?<![\w/.])(?:{'|'.join(_PACKAGES)})(?:\.\w+)+")
_PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(_PACKAGES)}|tests|bench|scripts|examples|docs)/[\w./-]*")


def is_there(name: str) -> bool:
    """Return whether a path below the project, or a dotted name of a module or of something in one, exists."""
    if "/" in name:
        return (ROOT / name.rstrip(".")).exists()
    words = name.split(".")
    for length in range(len(words), 0, -1):
        path = ROOT.joinpath(*words[:length])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.exists():
            return length == len(words) or re.search(rf"\b{words[length]}\b", module.read_text()) is not None
    return False


@EVERY_PAGE
def test_modules_and_paths_that_are_named_exist(page: Page) -> None:
    text = "\n".join([*codes(page.prose()), *(block.text for block in page.blocks())])
    named = {*_DOTTED.findall(text), *_PATH.findall(text)}
    assert {name for name in named - NOT_HERE if not is_there(name)} == set()


def test_modules_that_docstrings_name_exist() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for package in _PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for code in codes(path.read_text())
        for name in (*_DOTTED.findall(code), *_PATH.findall(code))
        if not is_there(name)
    }
    assert missing == set()


def test_every_folder_has_its_row_in_the_architecture() -> None:
    folders = {
        f"{path.parent.relative_to(ROOT)}/" for package in _PACKAGES for path in (ROOT / package).rglob("__init__.py")
    }
    rows = first_codes(table(Page("ARCHITECTURE.md").section("Folders")))
    assert sorted(rows) == sorted(folders)


def test_the_installed_version_is_in_the_changelog() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert version[1] in Page("CHANGELOG.md").text
