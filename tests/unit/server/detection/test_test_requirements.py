"""What is handed to pip for a project, from all the places where projects declare what their tests need."""

from pathlib import Path

import pytest

from ci_common.errors import InvalidRequest
from ci_server.detection.python.steps import looks_like_python, python_environment
from tests.helpers.service import tree
from tests.helpers.untrusted import BUILT, pip_calls


@pytest.mark.parametrize(
    "name",
    [
        "requirements-test.txt", "requirements_tests.txt", "test-requirements.txt", "testing_requirements.txt",
        "requirements.test.txt", "reqs-test.txt", "requirements-tests.in", "requirements/test.txt",
        "requirements/requirements-test.txt", "reqs/tests.txt", "tests/requirements.txt", "test/requirements-test.txt",
        "requirements-ci.txt", "dev.requirements.txt", "requirements-develop.txt", "requirements/development.in",
        "requirements/local.txt",
    ],
)  # fmt: skip
def test_requirement_files_of_any_usual_name(tmp_path: Path, name: str) -> None:
    assert pip_calls(tmp_path, {name: ""}) == [["-r", name, "pytest"]]
    assert looks_like_python(tmp_path)


@pytest.mark.parametrize("name", ["requirements-docs.txt", "notes.txt", "test.txt", "dev.txt", "requirements/lint.txt"])
def test_files_that_say_nothing_about_tests(tmp_path: Path, name: str) -> None:
    assert pip_calls(tmp_path, {name: ""}) == [["pytest"]]


def test_what_runs_the_project_comes_first_and_development_only_without_tests(tmp_path: Path) -> None:
    files = {"requirements/base.txt": "", "requirements/test.in": "", "requirements/test.txt": "", "dev-reqs.txt": ""}
    assert pip_calls(tmp_path, files) == [["-r", "requirements/base.txt", "-r", "requirements/test.txt", "pytest"]]


def test_files_with_hashes_are_installed_apart(tmp_path: Path) -> None:
    hashed = "a==1 --hash=sha256:00\n"
    files = {"requirements.txt": hashed, "requirements-test.txt": "", "pyproject.toml": BUILT}
    assert pip_calls(tmp_path, files) == [
        ["-r", "requirements.txt"],
        ["-r", "requirements-test.txt", "-e", ".", "pytest"],
    ]


@pytest.mark.parametrize(
    ("extras", "taken"),
    [
        ('dev = ["black"]\ntest = ["mock"]', "test"),
        ('all = ["hypothesis", "pytest >= 8"]\ndocs = ["sphinx"]', "all"),
        ('dev = ["pytest-cov"]\nfull = ["pytest"]', "dev"),
        ('dev = ["black"]\nCheck_It = ["pytest"]', "check-it"),
        ('dev = ["black"]\ndocs = ["sphinx"]', "dev"),
        ('a = ["thing[b]"]\nb = ["pytest"]', "a"),
    ],
)
def test_which_extra(tmp_path: Path, extras: str, taken: str) -> None:
    files = {"pyproject.toml": f"{BUILT}[project.optional-dependencies]\n{extras}\n"}
    assert pip_calls(tmp_path, files) == [["-e", f".[{taken}]", "pytest"]]


def test_extras_that_have_nothing_to_do_with_tests(tmp_path: Path) -> None:
    files = {"pyproject.toml": f'{BUILT}[project.optional-dependencies]\npytest = ["x"]\ndocs = ["pytestlike"]\n'}
    assert pip_calls(tmp_path, files) == [["-e", ".", "pytest"]]


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ('[dependency-groups]\ndev = ["ruff"]\ntests = ["a"]', ["a"]),
        ('[dependency-groups]\ntyping = ["mypy"]\nci = ["pytest", "b"]', ["pytest", "b"]),
        ('[tool.uv]\ndev-dependencies = ["pytest-mock"]', ["pytest-mock"]),
        ('[tool.pdm.dev-dependencies]\ntest = ["c", "-e file:///x"]\nlint = ["pytest"]', ["c"]),
        ('[tool.hatch.envs.default]\ndependencies = ["pytest", "d"]', ["pytest", "d"]),
        ('[tool.hatch.envs.hatch-test]\nextra-dependencies = ["e"]', ["e"]),
        ('[tool.poetry.group.test.dependencies]\nf = "^1.2"', ["f>=1.2,<2"]),
        ('[tool.poetry.dev-dependencies]\npytest = "*"', ["pytest"]),
        ('[dependency-groups]\ntest = ["new"]\n[tool.pdm.dev-dependencies]\ntest = ["old"]', ["new"]),
        ('[dependency-groups]\nbroken = [{include-group = "gone"}]\ntest = ["g"]', ["g"]),
    ],
)
def test_groups(tmp_path: Path, text: str, requirements: list[str]) -> None:
    expected = ["-e", ".", *requirements, *([] if "pytest" in requirements else ["pytest"])]
    assert pip_calls(tmp_path, {"pyproject.toml": f"{BUILT}{text}\n"}) == [expected]


def test_what_tox_installs(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": BUILT + '[project.optional-dependencies]\nfast = ["x"]\n[dependency-groups]\ncov = ["y"]\n',
        "tox.ini": "[testenv]\ndeps =\n  -r{toxinidir}/ci/needs.txt\n  pytest-mock >= 3\n  py38: old\n"
        "  .[fast]\nextras = fast, gone\ndependency_groups =\n  cov\n  py: gone\n",
        "ci/needs.txt": "",
        "requirements-dev.txt": "",
    }
    assert pip_calls(tmp_path, files) == [
        ["-r", "ci/needs.txt", "-e", ".[fast]", "y", "pytest-mock >= 3", "pytest"],
    ]


def test_tox_that_leaves_it_to_another_tool(tmp_path: Path) -> None:
    files = {"setup.py": "", "tox.ini": "[testenv]\ndeps = poetry\n  -r gone.txt\n", "requirements-dev.txt": ""}
    assert pip_calls(tmp_path, files) == [["-r", "requirements-dev.txt", "-e", ".", "poetry", "pytest"]]


def test_setup_py_alone(tmp_path: Path) -> None:
    text = "from setuptools import setup\nsetup(extras_require={'tests': ['mock']}, tests_require=['nose'])"
    assert pip_calls(tmp_path, {"setup.py": text}) == [["-e", ".[tests]", "nose", "pytest"]]


def test_setup_cfg_beside_a_pyproject_without_build_system(tmp_path: Path) -> None:
    cfg = "[metadata]\nname = thing\n[options]\ntests_require =\n  mock ; python_version < '4'\n"
    files = {"pyproject.toml": "[tool.black]\n", "setup.cfg": cfg}
    assert pip_calls(tmp_path, files) == [["-e", ".", "mock ; python_version < '4'", "pytest"]]


def test_setup_cfg_that_pip_cannot_install(tmp_path: Path) -> None:
    cfg = "[metadata]\nname = thing\n[options]\ninstall_requires =\n  a\n  # not this\n  b\n"
    assert pip_calls(tmp_path, {"setup.cfg": cfg}) == [["a", "b", "pytest"]]


def test_an_application_of_uv(tmp_path: Path) -> None:
    text = '[project]\nname = "app"\nversion = "1"\ndependencies = ["a"]\n[dependency-groups]\ndev = ["pytest>=8"]\n'
    assert pip_calls(tmp_path, {"pyproject.toml": text, "main.py": ""}) == [["a", "pytest>=8", "pytest"]]
    packaged = tree(tmp_path / "packaged", {"pyproject.toml": f"{text}[tool.uv]\npackage = true\n"})
    assert pip_calls(packaged, {}) == [["-e", ".", "pytest>=8", "pytest"]]


def test_poetry_without_a_package(tmp_path: Path) -> None:
    text = """
        [build-system]
        requires = ["poetry-core"]
        [tool.poetry]
        package-mode = false
        [tool.poetry.dependencies]
        python = "^3.11"
        flask = "~3.0"
        [tool.poetry.group.dev.dependencies]
        pytest = "^8.0"
    """
    assert pip_calls(tmp_path, {"pyproject.toml": text}) == [["flask>=3.0,<3.1", "pytest>=8.0,<9", "pytest"]]


def test_pipfile(tmp_path: Path) -> None:
    text = '[packages]\nflask = "*"\nlocal = {path = "."}\n[dev-packages]\npytest = ">=8"\nmock = {version = "==5.*"}\n'
    assert pip_calls(tmp_path, {"Pipfile": text}) == [["flask", "pytest>=8", "mock==5.*", "pytest"]]
    assert looks_like_python(tmp_path)


def test_a_pipfile_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Pipfile is not valid"):
        pip_calls(tmp_path, {"Pipfile": "[["})


def test_a_version_that_uv_takes_from_the_history(tmp_path: Path) -> None:
    text = '[build-system]\nrequires = ["hatchling", "uv-dynamic-versioning"]\n'
    assert python_environment(tree(tmp_path, {"pyproject.toml": text}))["UV_DYNAMIC_VERSIONING_BYPASS"] == "0.0.0"


def test_links_within_the_project_are_followed(tmp_path: Path) -> None:
    shared = {"shared/pyproject.toml": BUILT, "shared/tox.ini": "[testenv]\ndeps = mock\n"}
    tree(tmp_path, shared | {"shared/needs.txt": "a==1 --hash=sha256:00"})
    (tmp_path / "pyproject.toml").symlink_to("shared/pyproject.toml")
    (tmp_path / "tox.ini").symlink_to("shared/tox.ini")
    (tmp_path / "requirements.txt").symlink_to("shared/needs.txt")
    (tmp_path / "setup.cfg").symlink_to("setup.cfg")
    assert pip_calls(tmp_path, {}) == [["-r", "requirements.txt"], ["-e", ".", "mock", "pytest"]]


def test_packages_of_pipfile_beside_a_package(tmp_path: Path) -> None:
    files = {"setup.py": "", "Pipfile": '[packages]\nsix = "*"\nthing = {path = ".", editable = true}\n'}
    assert pip_calls(tmp_path, files) == [["-e", ".", "six", "pytest"]]


def test_groups_of_poetry_that_include_others(tmp_path: Path) -> None:
    text = """
[tool.poetry.group.test]
include-groups = ["Base"]
[tool.poetry.group.test.dependencies]
pytest = "*"
[tool.poetry.group.base]
include-groups = ["more"]
[tool.poetry.group.base.dependencies]
six = "*"
[tool.poetry.group.more.dependencies]
attrs = "*"
"""
    assert pip_calls(tmp_path, {"pyproject.toml": text}) == [["pytest", "six", "attrs"]]


def test_categories_of_pipenv(tmp_path: Path) -> None:
    text = '[packages]\na = "*"\n[tests]\nb = {path = "libs/b"}\n[docs]\nc = "*"\n[scripts]\ne = "f"\n'
    files = {"Pipfile": text, "libs/b/setup.py": ""}
    assert pip_calls(tmp_path, files) == [["a", "./libs/b", "pytest"]]
