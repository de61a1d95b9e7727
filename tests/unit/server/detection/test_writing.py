"""The `ci.yaml` that `ci init` writes: by it runs what ran by detection."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from ci_common.errors import UnrecognisedProject
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_server.detection.projects import resolve
from ci_server.detection.writing import written_ci_yaml
from ci_server.openapi.schemas import packaged_schema

SETTINGS = Settings(default_image="python:3.12-slim", default_timeout=100)
PYPROJECT = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "thing"\nversion = "1"\n'
PROJECTS = {
    "bare tests": {"test_a.py": ""},
    "requirements": {"requirements.txt": "six\n", "requirements-dev.txt": "pytest\n", "test_a.py": ""},
    "a package": {"pyproject.toml": f"{PYPROJECT}dependencies = ['six']\n", "tests/test_a.py": ""},
    "hashes": {"requirements.txt": f"six==1 --hash=sha256:{'0' * 64}\n", "test_a.py": ""},
    "a version from history": {
        "pyproject.toml": PYPROJECT.replace('["setuptools"]', '["setuptools", "setuptools-scm"]').replace(
            'version = "1"', "dynamic = ['version']"
        )
    },
    "node": {
        "package.json": '{"scripts": {"test": "node t.js", "prepare": "echo \'it is\'"}, "engines": {"node": ">=20"}}',
        "package-lock.json": "{}",
    },
    "go": {"go.mod": "module x\ngo 1.22\nrequire y v1.0.0\n", "go.sum": "y\n", "a.go": 'package x\nimport "y.z/a"\n'},
    "rust": {"Cargo.toml": '[package]\nname = "x"\n[dependencies]\nserde = "1"\n', "Cargo.lock": "", "src/lib.rs": ""},
    "two languages": {"pyproject.toml": PYPROJECT, "go.mod": "module x\n"},
    "in a folder": {"thing/pyproject.toml": PYPROJECT, "thing/test_a.py": ""},
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def commands(plan: ExecutionPlan) -> list[tuple[str, list[str]]]:
    """Return the steps, without the lines that only write to the log which installer was chosen, and why."""
    said = re.compile(r"echo ('ci: |\"ci: installing)|ci_pip=|if \[ -n \"\$ci_uv\" \]; then echo|else echo \"ci: inst")
    steps = [(step.name, (step.shell or "").splitlines()) for step in plan.steps]
    return [(name, [line for line in lines if not said.match(line)]) for name, lines in steps]


@pytest.mark.parametrize("name", PROJECTS)
def test_by_it_runs_what_ran_by_detection(name: str, tmp_path: Path) -> None:
    root = write(tmp_path, PROJECTS[name])
    detected = resolve(root, Spec(), SETTINGS).plan
    written = written_ci_yaml(root, SETTINGS)
    (written.directory / "ci.yaml").write_text(written.text)
    plan = resolve(root, Spec(), SETTINGS).plan

    kept = {"steps"}
    assert plan.model_dump(exclude=kept) == detected.model_dump(exclude=kept)
    assert commands(plan) == commands(detected)
    jsonschema.validate(yaml.safe_load(written.text), packaged_schema("spec"), jsonschema.Draft202012Validator)
    assert max(map(len, written.text.splitlines())) < 4000


def test_its_reasons_are_comments(tmp_path: Path) -> None:
    written = written_ci_yaml(write(tmp_path, PROJECTS["node"]), SETTINGS)
    assert written.text.startswith("# yaml-language-server: $schema=.ci/spec.schema.json\n")
    assert "# - Node.js, because of package.json\n" in written.text
    assert "(package-lock.json)" in " ".join(written.reasons)
    assert "echo 'ci: " not in written.text


def test_the_functions_that_install_are_not_written_out(tmp_path: Path) -> None:
    text = written_ci_yaml(write(tmp_path, PROJECTS["requirements"]), SETTINGS).text
    assert "run: ci_install -r requirements.txt -r requirements-dev.txt\n" in text
    assert "installer: auto\n" in text
    assert len(text.splitlines()) < 40


def test_without_a_project_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(UnrecognisedProject, match=r"steps: \[make test\]"):
        written_ci_yaml(tmp_path, SETTINGS)
