"""What is recognised in which tree, and what wins over what."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_common.errors import InvalidRequest, UnrecognisedProject
from ci_common.settings import Settings
from ci_common.spec import Retry, Spec
from ci_server.detection.projects import Resolved, resolve, resolve_command
from ci_server.detection.python.steps import NO_SETTINGS, REPORT, TEST

Make = Callable[..., Resolved]
SETTINGS = Settings(default_image="python:3.12-slim", default_timeout=100, prepared_bytes=0)
PACKAGE = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "thing"\n'


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def resolved(tmp_path: Path) -> Make:
    def make(files: dict[str, str], **spec: object) -> Resolved:
        write_tree(tmp_path, files)
        return resolve(tmp_path, Spec.model_validate(spec), SETTINGS)

    return make


def install_of(resolved: Resolved) -> list[str]:
    """Return pip's arguments."""
    assert [step.name for step in resolved.plan.steps] == ["install", "test"]
    assert resolved.plan.steps[1].shell in (f"{TEST} {REPORT}", f"{TEST} {NO_SETTINGS} {REPORT}")
    assert resolved.plan.python_environment
    words = shlex.split(resolved.plan.steps[0].shell or "")
    assert words[:4] == ["python", "-m", "pip", "install"]
    return words[4:]


def test_bare_tests(resolved: Make) -> None:
    assert install_of(resolved({"test_a.py": ""})) == ["pytest"]


def test_tests_in_a_folder(resolved: Make) -> None:
    assert install_of(resolved({"tests/unit/test_a.py": "", "code.py": ""})) == ["pytest"]


def test_requirements(resolved: Make) -> None:
    install = install_of(resolved({"requirements.txt": "", "requirements-dev.txt": "", "tests/requirements.txt": ""}))
    assert install == ["-r", "requirements.txt", "-r", "tests/requirements.txt", "pytest"]


def test_setup_py(resolved: Make) -> None:
    assert install_of(resolved({"setup.py": "setup()"})) == ["-e", ".", "pytest"]


def test_extras_of_setup_cfg(resolved: Make) -> None:
    tree = {"setup.py": "", "setup.cfg": "[options.extras_require]\ndev =\n  black\ntesting =\n  mock\n"}
    assert install_of(resolved(tree)) == ["-e", ".[testing]", "pytest"]


def test_setup_cfg_alone_cannot_be_installed(resolved: Make) -> None:
    assert install_of(resolved({"setup.cfg": "[tool:pytest]\n"})) == ["pytest"]


def test_pyproject_with_build_system_and_extra(resolved: Make) -> None:
    extras = '[project.optional-dependencies]\nDev = ["x"]\nTests = ["y"]\n'
    assert install_of(resolved({"pyproject.toml": PACKAGE + extras})) == ["-e", ".[tests]", "pytest"]


def test_pyproject_without_build_system_is_no_package(resolved: Make) -> None:
    text = """
        [project]
        name = "My.App"
        dependencies = ["a>=1,<2", "b; python_version < '3.13'"]
        [project.optional-dependencies]
        test = ["my-app[extra]", "t"]
        extra = ["e", "my_app[test]"]
    """
    assert install_of(resolved({"pyproject.toml": text})) == [
        "a>=1,<2", "b; python_version < '3.13'", "e", "t", "pytest",
    ]  # fmt: skip


def test_dependency_groups(resolved: Make) -> None:
    text = """
        [dependency-groups]
        test = [{include-group = "Base_Group"}, "b>2"]
        base-group = ["a ; extra == 'x'"]
        dev = ["never"]
    """
    assert install_of(resolved({"pyproject.toml": PACKAGE + text})) == ["-e", ".", "a ; extra == 'x'", "b>2", "pytest"]


@pytest.mark.parametrize("groups", ['test = [{include-group = "test"}]', 'test = [{include-group = "gone"}]'])
def test_dependency_groups_that_cannot_be_resolved(resolved: Make, groups: str) -> None:
    with pytest.raises(InvalidRequest, match=r"pyproject\.toml") as caught:
        resolved({"pyproject.toml": f"[dependency-groups]\n{groups}\n"})
    assert caught.value.errors[0].path == "pyproject.toml"


def test_requirements_cannot_break_out_of_the_command(resolved: Make) -> None:
    evil = "x @ https://example.org/'$(id)'#;rm"
    install = install_of(resolved({"pyproject.toml": f"[project]\nname='y'\ndependencies = ['''{evil}''']\n"}))
    assert install == [evil, "pytest"]


def test_what_is_no_requirement_is_refused(resolved: Make) -> None:
    with pytest.raises(InvalidRequest, match=r"pyproject\.toml is not valid: 'x; rm -rf /' is not a requirement"):
        resolved({"pyproject.toml": "[project]\nname='y'\ndependencies = ['x; rm -rf /']\n"})


@pytest.mark.parametrize(
    ("requires", "variable"),
    [
        ("hatch-vcs", "SETUPTOOLS_SCM_PRETEND_VERSION"),
        ("setuptools_scm[toml]>=6", "SETUPTOOLS_SCM_PRETEND_VERSION"),
        ("pbr>=2", "PBR_VERSION"),
    ],
)
def test_a_version_from_a_history_that_is_not_there(resolved: Make, requires: str, variable: str) -> None:
    tree = {"pyproject.toml": f'[build-system]\nrequires = ["{requires}"]\n'}
    assert resolved(tree).plan.env[variable] == "0.0.0"
    assert resolved(tree, env={variable: "7"}).plan.env[variable] == "7"
    assert variable not in resolved({"PKG-INFO": "Version: 1"}).plan.env


def test_no_version_is_pretended_without_need(resolved: Make) -> None:
    assert not any("VERSION" in name for name in resolved({"pyproject.toml": PACKAGE}).plan.env if name[:4] != "PIP_")


def test_a_single_folder_is_the_project(resolved: Make) -> None:
    made = resolved({"thing-1.0/setup.py": "", "thing-1.0/tests/test_a.py": "", "__MACOSX/x": ""})
    assert made.plan.directory == "thing-1.0"
    assert install_of(made) == ["-e", ".", "pytest"]


def test_a_single_folder_that_is_no_project_is_not_entered(resolved: Make) -> None:
    made = resolved({"src/main.py": ""}, command="python src/main.py")
    assert made.plan.directory == "."


def test_nothing_recognised(resolved: Make) -> None:
    with pytest.raises(UnrecognisedProject, match=r"ci\.yaml.*pyproject\.toml.*setup\.py.*tests"):
        resolved({"main.go": "", "README.md": ""})


def test_ci_yaml(resolved: Make) -> None:
    text = """
        image: node:22
        timeout: 10m
        env: {DEBUG: 1}
        steps:
          - run: npm ci
          - name: test
            run: |
              npm test
        limits: {memory: 512m}
    """
    plan = resolved({"ci.yaml": text, "pyproject.toml": ""}).plan
    assert (plan.image, plan.timeout, plan.env, plan.limits.memory) == ("node:22", 600, {"DEBUG": "1"}, 512 * 1024**2)
    assert [(step.name, step.shell) for step in plan.steps] == [("step 1", "npm ci"), ("test", "npm test\n")]
    assert all(step.stop_at_failure for step in plan.steps)
    assert not plan.python_environment


def test_ci_yaml_without_steps_leaves_the_recognition(resolved: Make) -> None:
    made = resolved({"ci.yaml": "image: python:3.13-slim", "test_a.py": ""})
    assert made.plan.image == "python:3.13-slim"
    assert install_of(made) == ["pytest"]


def test_the_request_wins_over_the_file(resolved: Make) -> None:
    text = (
        "image: a\ntimeout: 5\npriority: 3\nenv: {A: file, B: file}\nlabels: {x: f}\nsteps: [{run: f}]\nnetwork: false"
    )
    made = resolved({"ci.yaml": text}, command=["r", "s"], env={"B": "request"}, labels={"y": "r"}, image="b")
    assert made.plan.image == "b"
    assert made.plan.steps[0].argv == ("r", "s")
    assert made.plan.env == {"A": "file", "B": "request"}
    assert made.spec.labels == {"x": "f", "y": "r"}
    assert (made.plan.timeout, made.spec.priority, made.plan.network) == (5, 3, False)


def test_limits_are_merged_one_by_one(resolved: Make) -> None:
    made = resolved({"ci.yaml": "command: x\nlimits: {cpus: 2, pids: 10}"}, limits={"pids": 20})
    assert made.plan.limits.model_dump(exclude={"log"}, exclude_none=True) == {"cpus": 2.0, "pids": 20}


def test_limits_that_nobody_names_are_the_settings(resolved: Make) -> None:
    plan = resolved({"ci.yaml": "command: x"}).plan
    assert (plan.limits.log, plan.no_output_timeout, plan.stop_grace) == (1024**3, None, None)


def test_a_log_may_not_be_longer_than_the_settings_allow(resolved: Make) -> None:
    assert resolved({"ci.yaml": "command: x\nlimits: {log: 1g}"}).plan.limits.log == 1024**3
    with pytest.raises(InvalidRequest, match="at most 1073741824") as refused:
        resolved({"ci.yaml": "command: x"}, limits={"log": "1025m"})
    assert [error.path for error in refused.value.errors] == ["limits.log"]


def test_times_of_the_project_and_of_the_request(resolved: Make) -> None:
    files = {"ci.yaml": "command: x\nno_output_timeout: 5m\nstop_grace: 1m"}
    plan = resolved(files, stop_grace=0).plan
    assert (plan.no_output_timeout, plan.stop_grace) == (300.0, 0.0)


def test_retry_is_merged_one_by_one(resolved: Make) -> None:
    text = "command: x\nretry:\n  max_attempts: 5\n  on: [errored]\n  backoff: 10s"
    made = resolved({"ci.yaml": text}, retry={"max_attempts": 2})
    assert made.plan.retry == Retry(max_attempts=2, on=["errored"], backoff=10)
    assert resolved({"ci.yaml": text}).plan.retry.max_attempts == 5
    assert resolved({"ci.yaml": "command: x"}).plan.retry.max_attempts == 1


def test_what_yaml_once_took_for_booleans_is_text(resolved: Make) -> None:
    made = resolved({"ci.yaml": "command: x\nenv: {A: yes, B: off, C: 'true'}\nnetwork: no\nretry: {on: failed}"})
    assert made.plan.env == {"A": "yes", "B": "off", "C": "true"}
    assert made.plan.network is False
    assert made.plan.retry.on == ("failed",)
    assert resolved({"ci.yaml": "command: x\nnetwork: False"}).plan.network is False


def test_defaults(resolved: Make) -> None:
    plan = resolved({"x": ""}, command="true").plan
    assert (plan.image, plan.timeout, plan.network, plan.env) == ("python:3.12-slim", 100, True, {})


BOMB = "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [{rum: x}]", "steps.0.run"),
        ("image: 'Not An Image'", "image"),
        ("colour: red", "colour: unknown field"),
        ("- a list", "mapping"),
        ("just text", "mapping"),
        ("a: [", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("image: a\nimage: b", "twice"),
        ("env: !!python/object/apply:os.system [id]", "not valid YAML"),
        (BOMB, "aliases"),
        ("[" * 5000, "not valid YAML"),
        ("x" * 300_000, "longer than"),
        ("a: \0", "not valid YAML"),
    ],
)
def test_a_ci_yaml_that_cannot_be_used(resolved: Make, text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        resolved({"ci.yaml": text, "test_a.py": ""})
    assert "ci.yaml" in str(caught.value)
    assert caught.value.errors


def test_a_ci_yaml_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "ci.yaml").write_bytes("image: grün".encode("latin-1"))
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        resolve(tmp_path, Spec(), SETTINGS)


def test_a_ci_yaml_that_links_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("command: secret")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "ci.yaml").symlink_to("../outside.yaml")
    with pytest.raises(InvalidRequest, match="not a file of the project"):
        resolve(workspace, Spec(), SETTINGS)


@pytest.mark.parametrize("links", [{"ci.yaml": "ci.yaml"}, {"ci.yaml": "a", "a": "b", "b": "ci.yaml"}])
def test_a_ci_yaml_that_links_in_a_circle(tmp_path: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    with pytest.raises(InvalidRequest, match="not a file of the project"):
        resolve(tmp_path, Spec(), SETTINGS)


def test_a_ci_yaml_that_links_inside_the_tree(tmp_path: Path) -> None:
    write_tree(tmp_path, {"config/ci.yaml": "command: x"})
    (tmp_path / "ci.yaml").symlink_to("config/ci.yaml")
    assert resolve(tmp_path, Spec(), SETTINGS).plan.steps[0].shell == "x"


def test_an_empty_ci_yaml_says_nothing(resolved: Make) -> None:
    with pytest.raises(UnrecognisedProject):
        resolved({"ci.yaml": "# nothing yet"})


def test_pyproject_that_is_no_toml(resolved: Make) -> None:
    with pytest.raises(InvalidRequest, match=r"pyproject\.toml is not valid"):
        resolved({"pyproject.toml": "[["})


def test_a_job_without_project_needs_something_to_run() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve_command(Spec(image="busybox"), SETTINGS)
    assert caught.value.errors[0].path == "command"
