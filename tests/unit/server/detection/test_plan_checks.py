"""Plans that could not be started are refused, wherever their texts come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import InvalidRequest
from ci_common.settings import Settings
from ci_common.spec import Spec
from ci_server.detection.projects import resolve, resolve_command
from tests.helpers.service import tree

SETTINGS = Settings()
KIB = 1024


def many(name: str, count: int) -> dict[str, str]:
    """Return so many variables of 100 KiB."""
    return {f"{name}{number}": "x" * 100 * KIB for number in range(count)}


def paths_of(act: Callable[[], object]) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        act()
    assert str(caught.value).isprintable()
    return [error.path for error in caught.value.errors]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.py", r'from setuptools import setup; setup(tests_require="\ud800")'),
        ("setup.py", r'from setuptools import setup; setup(tests_require=["a\0"])'),
        ("setup.py", r'from setuptools import setup; setup(tests_require=["a\x1b"])'),
        ("pyproject.toml", '[project]\nname="x"\ndependencies=["a\\u0000b"]'),
        ("pyproject.toml", '[dependency-groups]\ntest=["a\\u001bb"]'),
    ],
)
def test_requirements_with_characters_that_are_refused(tmp_path: Path, name: str, text: str) -> None:
    tree(tmp_path, {name: text})
    assert paths_of(lambda: resolve(tmp_path, Spec(), SETTINGS)) in (["steps.install"], [name])


def test_the_name_of_the_projects_folder(tmp_path: Path) -> None:
    tree(tmp_path, {"a\x1bb/ci.yaml": "command: x"})
    assert paths_of(lambda: resolve(tmp_path, Spec(), SETTINGS)) == ["directory"]


@pytest.mark.parametrize(
    ("file", "request_", "path"),
    [
        ({"env": many("A", 6)}, {"env": many("B", 6)}, "command"),
        ({"env": many("A", 6)}, {"command": list(many("A", 6).values())}, "command"),
        ({"steps": [{"run": "x"}], "env": many("A", 11)}, {}, "steps.0"),
    ],
    ids=["both", "words", "steps"],
)  # fmt: skip
def test_more_than_a_program_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: dict[str, Any], request_: dict[str, Any], path: str
) -> None:
    spec = Spec.model_validate({"command": "x"} | file if "steps" not in file else file)
    monkeypatch.setattr("ci_server.detection.projects.read_ci_yaml", lambda *_, **__: spec)
    assert paths_of(lambda: resolve(tmp_path, Spec.model_validate(request_), SETTINGS)) == [path]


def test_a_variable_that_is_too_long(tmp_path: Path) -> None:
    tree(tmp_path, {"ci.yaml": f"command: x\nenv: {{A: {'x' * 131_070}}}"})
    with pytest.raises(InvalidRequest, match=r"env\.A: the variable with its name has 131072 bytes") as caught:
        resolve(tmp_path, Spec(), SETTINGS)
    assert [error.path for error in caught.value.errors] == ["env.A"]
    tree(tmp_path, {"ci.yaml": f"command: x\nenv: {{A: {'x' * 131_069}}}"})
    assert len(resolve(tmp_path, Spec(), SETTINGS).plan.env["A"]) == 131_069


def test_a_long_script_is_no_argument() -> None:
    spec = Spec.model_validate({"command": "x" * 900 * KIB, "env": {"A": "x" * 100 * KIB}})
    assert resolve_command(spec, SETTINGS)


def test_both_together_may_not_have_more_labels_than_either(tmp_path: Path) -> None:
    labels = "\n".join(f"  l{number}: x" for number in range(64))
    tree(tmp_path, {"ci.yaml": f"command: x\nlabels:\n{labels}\n"})
    assert len(resolve(tmp_path, Spec(labels={"l0": "y"}), SETTINGS).spec.labels) == 64
    with pytest.raises(InvalidRequest, match=r"the request together with ci\.yaml .*labels: there are 65; at most 64"):
        resolve(tmp_path, Spec(labels={"other": "y"}), SETTINGS)
