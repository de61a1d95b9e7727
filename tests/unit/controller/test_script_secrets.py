"""How a job's script gives it its secrets, whichever shell runs it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_common.environments import PlannedSetup
from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import PlannedStep
from ci_common.spec_parts.secrets import PlannedSecret
from ci_common.system.trees import Folder
from ci_controller.run_directory.preparation import give_secrets, write_script, write_setup_script
from ci_controller.run_directory.secret_script import write_secrets
from tests.helpers.scripts import SHELLS, ScriptRun, as_sh, plan_of

VALUE = "a'b\"c$(exit 9)`x`\\ \n*  ünïcödé %s \\n"
SECRETS = (PlannedSecret(name="TOKEN", env="TOKEN"), PlannedSecret(name="KEY", file="key.pem"))


@pytest.fixture(params=SHELLS, ids=lambda path: path.name)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScriptRun]:
    steps = [
        PlannedStep(name="setup", shell='echo "setup: ${TOKEN-none} ${CI_SECRETS-none}"', stop_at_failure=True),
        PlannedStep(name="one", shell='printf %s "$TOKEN" >token; cp "$CI_SECRETS/key.pem" .', stop_at_failure=True),
        PlannedStep(name="two", shell='stat -c %a "$CI_SECRETS/key.pem"; wc -c <"$CI_SECRETS/../secrets.sh"'),
        PlannedStep(name="three", shell="tr '\\0' ' ' </proc/$PPID/cmdline; tr '\\0' ' ' </proc/$$/cmdline"),
    ]
    plan = plan_of(*steps).model_copy(
        update={"secrets": SECRETS, "setup": PlannedSetup(steps=1, inputs=(), digest="", pinned=False, fresh=False)}
    )
    run = ScriptRun(RunDirectory(tmp_path / "run"), as_sh(request.param, tmp_path), plan)
    yield run
    run.kill()


def give(one: ScriptRun) -> None:
    text = write_secrets([(secret, VALUE) for secret in SECRETS], base=one.run.path)
    with Folder.opened(one.run.path) as folder:
        give_secrets(folder, one.run, text)


def test_steps_have_them_and_the_setup_has_none(one: ScriptRun) -> None:
    one.prepare()
    give(one)
    assert one.run.secrets.stat().st_mode & 0o777 == 0o600
    one.to_gate()
    assert VALUE not in Path(f"/proc/{one.process.pid}/cmdline").read_text()  # type: ignore[union-attr]  # it runs
    one.through_gate()
    assert one.end() == 0, one.run.log.read_text()
    for name in ("token", "key.pem"):
        assert (one.run.workspace / name).read_text() == VALUE
    assert one.run.secrets.read_bytes() == b"", "what gave them is emptied"
    lines = one.run.log.read_text().split("\n")
    assert lines[:3] == ["setup: none none", "600", "0"]
    assert "exit 9" not in "\n".join(lines[3:])


def test_what_is_not_trusted_is_told_so_and_its_setup_is_not(one: ScriptRun) -> None:
    # The setup may be kept, and is the same for both.
    steps = [PlannedStep(name=name, shell=f'echo "{name}: ${{CI_UNTRUSTED-no}}"') for name in ("setup", "one")]
    one.plan = one.plan.model_copy(update={"steps": tuple(steps), "secrets": (), "untrusted": True})
    assert one.execute() == 0
    assert one.run.log.read_text() == "setup: no\none: true\n"


def test_a_job_without_its_secrets_does_not_go_on(one: ScriptRun) -> None:
    assert one.execute() == 1
    assert "the secrets of this job are not there any more" in one.run.log.read_text()
    assert not (one.run.workspace / "token").exists()


def test_no_other_script_has_a_value(one: ScriptRun) -> None:
    given = write_script(one.plan, base="/ci", environment={"PATH": os.defpath})
    apart = write_setup_script(one.plan, base="/ci", environment={})
    assert b"secrets.sh" in given
    for text in (given, apart):
        assert VALUE.encode() not in text
    assert b"secrets" not in apart, "an environment is made without them"
