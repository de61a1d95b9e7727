"""Files and tables in which projects say what their tests need, beside the usual ones; and what is not taken."""

import time
from pathlib import Path

import pytest

from ci_common.errors import InvalidRequest
from ci_server.detection.python.steps import looks_like_python
from tests.helpers.untrusted import BUILT, pip_calls

APPLICATION = '[project]\nname = "app"\ndynamic = ["dependencies", "optional-dependencies"]\n'


@pytest.mark.parametrize(
    ("files", "given"),
    [
        (
            {
                "pyproject.toml": APPLICATION + '[tool.setuptools.dynamic]\ndependencies = {file = "needs.in"}\n'
                'optional-dependencies.test = {file = ["a.in", "b.in", "gone.in"]}\n',
                "needs.in": "x>1  # why\n# not\n\n",
                "a.in": "y",
                "b.in": "z \\\n>2",
            },
            ["x>1", "y", "z>2", "pytest"],
        ),
        (
            {
                "pyproject.toml": BUILT + '[tool.setuptools.dynamic]\noptional-dependencies.test = {file = "a.in"}\n',
                "a.in": "y",
            },
            ["-e", ".[test]", "pytest"],
        ),
        (
            {
                "pyproject.toml": BUILT + "[tool.hatch.metadata.hooks.requirements_txt.optional-dependencies]\n"
                'test = ["a.in"]\n',
                "a.in": "y",
            },
            ["-e", ".[test]", "pytest"],
        ),
        (
            {
                "pyproject.toml": '[build-system]\n[tool.flit.metadata]\nmodule = "thing"\nrequires = ["x"]\n'
                '[tool.flit.metadata.requires-extra]\ntest = ["thing[more]"]\nmore = ["y"]\n'
            },
            ["-e", ".[test]", "pytest"],
        ),
        (
            {"pyproject.toml": '[build-system]\n[tool.flit.metadata]\nmodule = "thing"\ndev-requires = ["pytest"]\n'},
            ["-e", ".[dev]", "pytest"],
        ),
        ({"pyproject.toml": BUILT, "hatch.toml": '[envs.test]\ndependencies = ["x"]\n'}, ["-e", ".", "x", "pytest"]),
        ({"setup.py": "", "tox.toml": '[env_run_base]\ndeps = ["x"]\n'}, ["-e", ".", "x", "pytest"]),
        ({"pytest.toml": '[pytest]\nrequired_plugins = ["pytest-x>1"]\n'}, ["pytest-x>1", "pytest"]),
        ({"pytest.ini": "[pytest]\nrequired_plugins = pytest-x>1  pytest-y\n"}, ["pytest-x>1", "pytest-y", "pytest"]),
        ({"setup.cfg": "[tool:pytest]\nrequired_plugins = pytest-x\n"}, ["pytest-x", "pytest"]),
        (
            {
                "pyproject.toml": BUILT + '[tool.pytest.ini_options]\nrequired_plugins = "pytest-x"\n'
                '[project.optional-dependencies]\ndev = ["pytest"]\n'
            },
            ["-e", ".[dev]", "pytest-x", "pytest"],
        ),
        ({"setup.py": "setup(extras_require={'test:os_name == \"a\"': [], ':y': []})"}, ["-e", ".[test]", "pytest"]),
        ({"pyproject.toml": BUILT + '[project.optional-dependencies]\n"a]b" = ["pytest"]\n'}, ["-e", ".", "pytest"]),
    ],
)
def test_second_places(tmp_path: Path, files: dict[str, str], given: list[str]) -> None:
    assert pip_calls(tmp_path, files) == [given]


@pytest.mark.parametrize("name", ["pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "tox.toml"])
def test_settings_of_tools_mark_a_project(tmp_path: Path, name: str) -> None:
    assert pip_calls(tmp_path, {name: ""}) == [["pytest"]]
    assert looks_like_python(tmp_path)


POETRY = """
[tool.poetry]
name = "app"
package-mode = false
[tool.poetry.dependencies]
python = "^3.11"
a = "1"
b = {version = "^2.5", optional = true}
c = {version = "3", optional = true}
[tool.poetry.extras]
test = ["B"]
database = ["c", "pytest"]
"""


@pytest.mark.parametrize(
    ("more", "given"),
    [
        ("", ["a==1", "b>=2.5,<3", "pytest"]),
        ('[tool.poetry.group.dev]\noptional = true\n[tool.poetry.group.dev.dependencies]\npytest = "7"\n', None),
        ('[tool.poetry.group.docs]\noptional = true\n[tool.poetry.group.docs.dependencies]\npytest = "7"\n', None),
        ('[tool.poetry.group.dev.dependencies]\nx = {version = "1", optional = true}\npytest = "7"\n', None),
    ],
)
def test_only_what_is_asked_for_of_poetrys(tmp_path: Path, more: str, given: list[str] | None) -> None:
    assert pip_calls(tmp_path, {"pyproject.toml": POETRY + more}) == [given or ["a==1", "b>=2.5,<3", "pytest"]]


@pytest.mark.parametrize(
    ("more", "given"),
    [
        ('[tool.poetry.group.dev]\noptional = true\n[tool.poetry.group.dev.dependencies]\npytest = "7"\n', []),
        ('[tool.poetry.group.dev.dependencies]\nx = {version = "1", optional = true}\npytest = "7"\n', ["pytest==7"]),
    ],
)
def test_groups_for_development_of_poetrys(tmp_path: Path, more: str, given: list[str]) -> None:
    text = POETRY.partition("[tool.poetry.extras]")[0]
    assert pip_calls(tmp_path, {"pyproject.toml": text + more}) == [["a==1", *given, "pytest"]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = ["a b"]\n'),
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = ["a\\u0000b"]\n'),
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = ["--index-url=https://e.org"]\n'),
        ("pyproject.toml", '[dependency-groups]\ntest = ["a @"]\n'),
        ("pyproject.toml", '[dependency-groups]\ntest = ["./a"]\n'),
        ("pyproject.toml", '[tool.poetry.dependencies]\nx = "^' + "9" * 4301 + '"\n'),
        ("pyproject.toml", '[tool.poetry.dependencies]\nx = "newest"\n'),
        ("Pipfile", '[packages]\nx = "newest"\n'),
        ("tox.ini", "[testenv]\ndeps = a>=1 b\n"),
        ("setup.py", "setup(tests_require='\\ud800')"),
        ("setup.py", "setup(tests_require='a\\0')"),
        ("setup.py", "setup(tests_require='a @ https://e.org/\\ud800')"),
        ("pytest.ini", "[pytest]\nrequired_plugins = pytest-x >1\n"),
        ("pyproject.toml", "a." * 100 + "a = 1"),
        ("hatch.toml", "[["),
        ("uv.toml", "[["),
        ("tox.toml", "[["),
        ("pytest.toml", "[["),
    ],
)
def test_what_is_no_requirement_never_reaches_pip(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is not valid: ") as refused:
        pip_calls(tmp_path, {name: text})
    assert [error.path for error in refused.value.errors] == [name]
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


def doubling(count: int) -> str:
    extras = "".join(
        f"g{n} = ['p[g{n + 1}]', 'p[g{n + 1}]', 'p[g{n + 1}] ; os_name > \"{n}\"']\n" for n in range(count)
    )
    return f"[project]\nname = 'p'\n[project.optional-dependencies]\ntest = ['p[g0]']\n{extras}g{count} = ['a']\n"


@pytest.mark.parametrize(
    "text",
    [
        "a." * 100_000 + "a = 1",
        doubling(40),
        doubling(1000),
        "[project]\nname = 'p'\ndependencies = [" + "".join(f"'a{n}', " for n in range(3000)) + "]\n",
        "x = " + "[" * 5000,
        "# " + "x" * 1024 * 1024,
    ],
)
def test_what_grows_without_end_is_refused_at_once(tmp_path: Path, text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=r"pyproject\.toml is not valid"):
        pip_calls(tmp_path, {"pyproject.toml": text})
    assert time.process_time() - began < 10


def test_extras_that_name_each_other_without_conditions_stay_small(tmp_path: Path) -> None:
    extras = "".join(f"g{n} = ['p[g{n + 1}]', 'p[g{n + 1}]']\n" for n in range(1000))
    text = f"[project]\nname = 'p'\n[project.optional-dependencies]\ntest = ['p[g0]']\n{extras}g1000 = ['a', 'p[g3]']\n"
    assert pip_calls(tmp_path, {"pyproject.toml": text}) == [["a", "pytest"]]


@pytest.mark.parametrize("value", ['"1.1.1.1.1.1"', "'a.b'", "{a.b = 1, c.d = 2}", '"' + "a." * 60 + '"'])
def test_keys_of_a_usual_length(tmp_path: Path, value: str) -> None:
    assert pip_calls(tmp_path, {"pyproject.toml": f'a."b.c".d = {value}\n'}) == [["pytest"]]


@pytest.mark.parametrize(
    ("files", "installed"),
    [
        ({"pytest.ini": "[pytest]\naddopts = --cov=thing --cov-branch -n2 -rs\n"},
         ["pytest-cov", "pytest-xdist", "pytest"]),
        ({"pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--timeout", "5", "-nauto"]\n'},
         ["pytest-xdist", "pytest-timeout", "pytest"]),
        ({"setup.cfg": "[tool:pytest]\naddopts = --benchmark-disable\n"}, ["pytest-benchmark", "pytest"]),
        ({"pytest.ini": "[pytest]\naddopts = -v --no-header -p no:cov --doctest-modules\n"}, ["pytest"]),
        ({"pytest.ini": "[pytest]\naddopts = --cov\n", "tox.ini": "[testenv]\ndeps = pytest_cov>=4\n"},
         ["pytest_cov>=4", "pytest"]),
    ],
)  # fmt: skip
def test_plugins_whose_options_are_in_the_settings(tmp_path: Path, files: dict[str, str], installed: list[str]) -> None:
    """Without them, pytest refuses its settings: unrecognized arguments."""
    assert pip_calls(tmp_path, {**files, "conftest.py": ""}) == [installed]
