"""What of a Python project's installation is its setup, and what is left to do with the project itself."""

import shlex
from pathlib import Path

import pytest

from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_server.detection.declarations.python_project import PythonProject
from ci_server.detection.projects import resolve
from ci_server.detection.python.pip_install import PreparedInstall, prepared_install
from ci_server.detection.python.steps import NO_SETTINGS, REPORT, TEST
from tests.helpers.service import tree

BUILD = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
STATIC = f'{BUILD}[project]\nname = "thing"\nversion = "1"\ndependencies = ["requests"]\n'
DYNAMIC = f'{BUILD}[project]\nname = "thing"\nversion = "1"\ndynamic = ["dependencies"]\n'
OTHER = {"libs/other/pyproject.toml": STATIC.replace("thing", "other").replace("requests", "httpx")}
HASH = f"numpy==1 --hash=sha256:{'0' * 64}\n"
OPTIONAL = "from setuptools import setup\nfrom setuptools.command.build_ext import build_ext\nsetup(name='thing')\n"
ISOLATED = ["-e", ".", "pytest"]
ALONE = ["--no-deps", "--no-build-isolation", "-e", "."]


def parts_of(directory: Path, files: dict[str, str]) -> PreparedInstall:
    return prepared_install(PythonProject(tree(directory, files)))


def plan_of(directory: Path, files: dict[str, str], **spec: object) -> ExecutionPlan:
    return resolve(tree(directory, files), Spec.model_validate(spec), Settings()).plan


def test_requirement_files_are_the_inputs_with_all_that_they_include(tmp_path: Path) -> None:
    files = {
        "requirements.txt": "-r base.txt\nrequests\n",
        "base.txt": "-c pins/constraints.txt\nnumpy\n",
        "pins/constraints.txt": "numpy==1\n",
        "requirements-dev.txt": "mypy",
        "test_a.py": "",
    }
    parts = parts_of(tmp_path, files)
    assert parts.inputs == ["base.txt", "pins/constraints.txt", "requirements-dev.txt", "requirements.txt"]
    assert parts.setup == [["-r", "requirements.txt", "-r", "requirements-dev.txt", "pytest"]]
    assert parts.install == []


def test_a_project_with_static_dependencies_is_installed_alone(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, {"pyproject.toml": STATIC})
    assert parts.setup == [["requests", "pytest"]]
    assert parts.build_tools == ["hatchling", "editables"]
    assert parts.install == [ALONE]
    assert parts.otherwise == [ISOLATED]
    assert not parts.note


@pytest.mark.parametrize(
    ("backend", "requires", "added"),
    [
        ("scikit_build_core.build", "scikit-build-core>=0.11", ["cmake", "ninja"]),
        ("scikit_build_core.setuptools.build_meta", "scikit-build-core", ["cmake", "ninja"]),
        ("setuptools.build_meta", "setuptools", ["wheel"]),
        ("poetry.core.masonry.api", "poetry-core", []),
    ],
)
def test_what_a_backend_asks_for_comes_with_its_build_tools(
    tmp_path: Path, backend: str, requires: str, added: list[str]
) -> None:
    text = STATIC.replace("hatchling.build", backend).replace('"hatchling"', f'"{requires}"')
    parts = parts_of(tmp_path, {"pyproject.toml": text})
    assert parts.build_tools == [requires, *added]
    assert parts.install == [ALONE]


def test_extras_come_with_the_setup(tmp_path: Path) -> None:
    text = f'{STATIC}[project.optional-dependencies]\ntest = ["pytest-cov", "thing[http]"]\nhttp = ["httpx"]\n'
    parts = parts_of(tmp_path, {"pyproject.toml": text})
    assert parts.setup == [["requests", "pytest-cov", "httpx", "pytest"]]
    assert parts.install == [[*ALONE[:-1], ".[test]"]]


@pytest.mark.parametrize(
    "files",
    [
        {"setup.py": "from setuptools import setup; setup(name='thing', install_requires=['requests'])"},
        {"setup.py": "setup()", "setup.cfg": "[metadata]\nname = thing\n[options]\ninstall_requires = requests\n"},
    ],
    ids=["setup.py", "setup.cfg"],
)
def test_dependencies_that_only_the_build_knows_are_left_to_it(tmp_path: Path, files: dict[str, str]) -> None:
    parts = parts_of(tmp_path, files)
    assert parts.setup == [["requests", "pytest"]]
    assert parts.install == [ISOLATED]
    assert not parts.build_tools
    assert "only its build knows" in parts.note


@pytest.mark.parametrize(
    ("metadata", "install"),
    [
        ({"pyproject.toml": STATIC.replace("hatchling.build", "setuptools.build_meta")}, ALONE),
        ({}, ISOLATED),
    ],
    ids=["static", "setup.py"],
)
def test_a_project_that_can_do_without_its_extensions_is_copied_where_it_cannot_be_editable(
    tmp_path: Path, metadata: dict[str, str], install: list[str]
) -> None:
    """Such a `setup.py` calls `setup` once more where there is no compiler, and an editable build ends at that."""
    files = metadata | {"setup.py": OPTIONAL}
    parts = parts_of(tmp_path / "parts", files)
    assert parts.install == [install]
    assert parts.otherwise == [[".", "pytest"]]
    steps = plan_of(tmp_path / "prepared", files).steps
    whole = plan_of(tmp_path / "whole", files, setup="true").steps
    assert [(step.name, "a copy of it is installed" in str(step.shell)) for step in steps[1:]] == [
        ("install", True), ("test", False),
    ]  # fmt: skip
    assert str(whole[1].shell).startswith("python -m pip install -e . pytest || { echo")
    assert "python -m pip install . pytest" in str(whole[1].shell)


def test_dynamic_dependencies_are_left_to_the_build(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, {"pyproject.toml": DYNAMIC})
    assert parts.setup == [["pytest"]]
    assert parts.install == [ISOLATED]


def test_dynamic_dependencies_in_a_file_are_known(tmp_path: Path) -> None:
    text = DYNAMIC.replace("hatchling.build", "setuptools.build_meta") + (
        '[tool.setuptools.dynamic]\ndependencies = {file = ["deps.in"]}\n'
    )
    parts = parts_of(tmp_path, {"pyproject.toml": text, "deps.in": "requests\n"})
    assert parts.setup == [["requests", "pytest"]]
    assert parts.install == [ALONE]
    with_setup_py = parts_of(tmp_path, {"setup.py": "setup(install_requires=['x'])"})
    assert "only its build knows" in with_setup_py.note


@pytest.mark.parametrize(
    ("line", "alone"),
    [
        ("-e .", ["-e", "."]),
        ("-e ./", ["-e", "."]),
        (".[http]", [".[http]"]),
        ("--editable=.[http]", ["-e", ".[http]"]),
    ],
)
def test_a_file_that_installs_the_project_is_given_line_by_line(tmp_path: Path, line: str, alone: list[str]) -> None:
    files = {
        "pyproject.toml": f'{STATIC}[project.optional-dependencies]\nhttp = ["httpx"]\n',
        "requirements.txt": f"{line}\nnumpy>=2\nthing[http]\n-c pins.txt\n-r more.txt\n",
        "more.txt": "pandas\n",
        "pins.txt": "-c all.txt\nnumpy==2\n",
        "all.txt": "pandas==3\n",
    }
    parts = parts_of(tmp_path, files)
    assert parts.setup[0][:4] == ["-c", "pins.txt", "-c", "all.txt"]
    assert set(parts.setup[0][4:]) == {"requests", "numpy>=2", "httpx", "pandas", "pytest"}
    assert parts.inputs == ["all.txt", "pins.txt"]
    assert parts.install == [[*ALONE[:2], *alone]]
    assert parts.otherwise == [["-r", "requirements.txt", "pytest"]]
    assert not parts.needs_pip


@pytest.mark.parametrize("line", ["./libs/other", "-e ./libs/other", "--pre\n-e .", f"-e .\n{HASH}"])
def test_a_file_with_folders_or_options_is_not_given_line_by_line(tmp_path: Path, line: str) -> None:
    files = {"pyproject.toml": STATIC, "requirements.txt": f"{line}\n", "libs/other/pyproject.toml": BUILD}
    parts = parts_of(tmp_path, files)
    assert parts.setup == []
    assert parts.inputs == []
    assert parts.install
    assert "requirements.txt installs from the project's own files" in parts.note


def test_a_setup_asks_no_index_for_a_private_name_in_a_file(tmp_path: Path) -> None:
    files = OTHER | {
        "pyproject.toml": f'{STATIC}[tool.uv.sources]\nother = {{path = "libs/other"}}\n',
        "requirements.txt": "other\nnumpy\n",
    }
    parts = parts_of(tmp_path, files)
    assert parts.setup == [["requests", "numpy", "pytest", "httpx"]]
    assert parts.inputs == []
    assert parts.install == [["-r", "requirements.txt", "-e", ".", "./libs/other", "pytest"]]


def test_dependencies_of_folders_come_with_the_setup(tmp_path: Path) -> None:
    text = STATIC.replace('"requests"', '"requests", "other[fast]"') + (
        '[tool.uv.sources]\nother = {workspace = true}\n[tool.uv.workspace]\nmembers = ["packages/*"]\n'
    )
    third = "[tool.uv.sources]\nthird = {workspace = true}\n"
    member = STATIC.replace("thing", "other").replace('"requests"', '"httpx", "third"')
    files = {
        "pyproject.toml": text,
        "packages/a/pyproject.toml": f'{member}[project.optional-dependencies]\nfast = ["orjson"]\n{third}',
        "packages/b/pyproject.toml": STATIC.replace("thing", "third").replace("requests", "attrs"),
    }
    parts = parts_of(tmp_path, files)
    assert parts.setup == [["requests", "pytest", "attrs", "httpx", "orjson"]]
    assert parts.install == [["-e", ".", "-e", "./packages/a[fast]", "-e", "./packages/b", "pytest"]]
    assert "own folders" in parts.note


def test_dependencies_of_a_folder_that_is_no_package_come_with_the_setup(tmp_path: Path) -> None:
    text = f'{STATIC}[dependency-groups]\ntest = ["other"]\n[tool.uv.sources]\nother = {{path = "libs/other"}}\n'
    virtual = OTHER["libs/other/pyproject.toml"].removeprefix(BUILD)
    parts = parts_of(tmp_path, {"pyproject.toml": text, "libs/other/pyproject.toml": virtual})
    assert parts.setup == [["requests", "httpx", "pytest"]]
    assert parts.install == [ALONE]


def test_a_folder_of_the_project_is_installed_after_the_setup(tmp_path: Path) -> None:
    text = f'{STATIC}[dependency-groups]\ntest = ["other"]\n[tool.uv.sources]\nother = {{path = "libs/other"}}\n'
    parts = parts_of(tmp_path, OTHER | {"pyproject.toml": text})
    assert parts.setup == [["requests", "pytest", "httpx"]]
    assert parts.install == [["-e", ".", "./libs/other", "pytest"]]
    assert "own folders" in parts.note


def test_a_project_that_is_rebuilt_at_import_keeps_its_build_tools_beside_it(tmp_path: Path) -> None:
    text = STATIC.replace("hatchling.build", "mesonpy").replace("hatchling", "meson-python")
    parts = parts_of(tmp_path, {"pyproject.toml": text})
    assert parts.setup[0][0] == "meson-python"
    assert parts.install == [["--no-build-isolation", "--no-deps", "-e", "."]]
    assert not parts.build_tools
    by_file = parts_of(tmp_path, {"requirements.txt": "-e .\nnumpy\n"})
    assert by_file.setup[0][0] == "meson-python"
    assert by_file.setup[0][-3:] == ["requests", "numpy", "pytest"]
    assert by_file.install == [ALONE]
    assert not by_file.build_tools


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("numpy\n", ""),
        ("numpy>=1,<2 ; python_version > '3'  # why\n", ""),
        (HASH, "requirements.txt has hashes"),
        ("--pre\nnumpy\n", "options"),
        ("--find-links https://example.org\nnumpy\n", "options"),
        ("-r https://example.org/x.txt\n", "options"),
        ("numpy --config-settings=a=b\n", "options"),
        ("-e git+https://example.org/x#egg=x\n", "options"),
        ("https://example.org/x.whl\n", "options"),
    ],
)
def test_what_only_pip_understands_is_left_to_it(tmp_path: Path, line: str, why: str) -> None:
    parts = parts_of(tmp_path, {"requirements.txt": line, "test_a.py": ""})
    assert why in parts.needs_pip
    assert bool(why) is bool(parts.needs_pip)


def test_the_steps_of_a_project(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"pyproject.toml": STATIC, "requirements.txt": "numpy\n"})
    assert [step.name for step in plan.steps] == ["setup", "install", "test"]
    assert plan.setup is not None
    assert plan.setup.inputs == ("requirements.txt",)
    assert plan.steps[-1].shell == f"{TEST} {NO_SETTINGS} {REPORT}"
    setup = shlex.split(plan.setup_text.splitlines()[-1])
    assert setup == ["ci_install", "-r", "requirements.txt", "requests", "pytest"]


def test_a_project_without_a_package_has_no_install_step(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"requirements.txt": "numpy\n", "test_a.py": ""})
    assert [step.name for step in plan.steps] == ["setup", "test"]


def test_a_setup_of_ones_own_replaces_the_detected_one(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"requirements.txt": "numpy\n", "test_a.py": ""}, setup="apt-get install gcc")
    assert [step.name for step in plan.steps] == ["setup", "install", "test"]
    assert plan.setup_text == "apt-get install gcc"
    assert plan.steps[1].shell == "python -m pip install -r requirements.txt pytest"


@pytest.mark.parametrize("installer", ["pip", "auto"])
def test_variables_for_pip_choose_pip(tmp_path: Path, installer: str) -> None:
    files = {"requirements.txt": "numpy\n", "test_a.py": ""}
    env = {} if installer == "auto" else {"PIP_INDEX_URL": "https://example.org"}
    text = plan_of(tmp_path, files, env=env).setup_text
    assert ("/ci-tools/uv" in text) is (installer == "auto")
